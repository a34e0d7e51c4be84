"""
Write one page about a trained agent: its training, its dreams, how they agree with reality.

    dreamzoo report --model runs/train --env CartPole-v1
    dreamzoo report --model runs/train --env CartPole-v1 --replay runs/train

Plays the agent in the environment. What was logged is read from the folder of the model; the
replay is described if it is given. Observations are normalized as in training if vecnormalize.zip
lies beside the model. All pictures and videos are in the page.
"""

from functools import partial
from pathlib import Path

import torch as th
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo.analysis.evaluation import check_spaces
from dreamzoo.cli.arguments import (
    add_model,
    load_replay,
    make_parser,
    parse_value,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.common.environments.normalizer import as_in_training
from dreamzoo.common.storage.inspection import describe
from dreamzoo.envs import make_env
from dreamzoo.envs.dreams.load_model import load_model
from dreamzoo.envs.errors import requires_extra


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("report", __doc__)
    add_model(parser)
    parser.add_argument("--env", required=True, help="to play in, see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--replay", type=Path, help="saved by the agent's training")
    parser.add_argument("--episodes", type=whole(1), default=16)
    parser.add_argument("--horizon", type=whole(1), default=200, help="steps of an episode at most")
    parser.add_argument("--seed", type=seed, default=10_000)
    parser.add_argument("--threads", type=whole(1), default=th.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        with requires_extra("video"):
            from dreamzoo.analysis.model_report import model_report
        model = load_model(args.model, trusted=args.trusted)
        if args.replay is not None:
            load_replay(model, args.replay, args.trusted)
        maker = partial(make_env, args.env, **dict(args.env_kwargs))
        env = make_vec_env(maker, n_envs=args.episodes, seed=args.seed)
        env = as_in_training(env, args.model, args.trusted)
        check_spaces(model, env)
        args.out.parent.mkdir(parents=True, exist_ok=True)
    page = model_report(
        model,
        env,
        title=f"{type(model).__name__} on {args.env}",
        held=describe(args.model),
        run=args.model if args.model.is_dir() else args.model.parent,
        horizon=args.horizon,
        seed=args.seed,
    )
    args.out.write_text(page)
    print(f"Wrote {args.out}")
