"""
Write one page about a trained agent: its training, its dreams, how they agree with reality.

    dreamzoo report runs/train --env CartPole-v1
    dreamzoo report runs/train --env CartPole-v1 --replay runs/train

Plays the agent in the environment. What was logged is read from the folder of the model; the
replay is described if it is given. Observations are normalized as in training if vecnormalize.zip
lies beside the model. All pictures and videos are in the page.
"""

from pathlib import Path

import torch as th

from dreamzoo.analysis.model_report import model_report
from dreamzoo.cli.arguments import (
    add_model,
    add_replay,
    add_threads,
    load_replay,
    make_parser,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.cli.real_env import add_env, make_real_env
from dreamzoo.common.storage.files import check_folder
from dreamzoo.common.storage.inspection import describe_own
from dreamzoo.envs.dreams.load_model import load_model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("report", __doc__)
    add_model(parser, "model")
    add_env(parser, required=True, help="to play in, see dreamzoo.envs.make_env")
    add_replay(parser)
    parser.add_argument("--episodes", type=whole(1), default=16)
    parser.add_argument("--horizon", type=whole(1), default=200, help="steps of an episode at most")
    parser.add_argument("--seed", type=seed, default=10_000)
    add_threads(parser)
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        model = load_model(args.model, trusted=args.trusted)
        if args.replay is not None:
            load_replay(model, args.replay, args.trusted)
        env = make_real_env(args, model, args.episodes)
        held = describe_own(args.model)
        if args.out.is_dir():
            raise ValueError(
                f"--out {args.out} is a folder; expected the name of a page, page.html."
            )
        check_folder(args.out.parent)
    page = model_report(
        model,
        env,
        title=f"{type(model).__name__} on {args.env}",
        held=held,
        run=args.model if args.model.is_dir() else args.model.parent,
        horizon=args.horizon,
        seed=args.seed,
    )
    args.out.write_text(page)
    print(f"Wrote {args.out}")
