"""
Steer the dream of a trained model in a browser, beside the real environment.

    dreamzoo play runs/demo --env CartPole-v1
    dreamzoo play model.zip

Prints the address of a page that only this machine reaches. There keys, sliders or the mouse steer
reality and dream with the same actions; the agent or a planner may play, too. Without --env the
dream is alone. Observations are normalized as in training if vecnormalize.zip lies beside the
model.
"""

from pathlib import Path
from typing import Any

import torch as th

from dreamzoo.cli.arguments import (
    load_replay,
    make_parser,
    parse_value,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.envs.dreams.load_model import load_model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("play", __doc__)
    parser.add_argument("model", type=Path, help="file, or folder of dreamzoo train")
    parser.add_argument("--env", help="the real one, see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--replay", type=Path, help="for dreams that begin in recorded moments")
    parser.add_argument("--port", type=int, default=8765, help="0: any that is free")
    parser.add_argument("--dreams", type=whole(1), default=1, help="from the same moment")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--fps", type=whole(1), default=15, help="steps a second, at first")
    parser.add_argument("--browsers", type=whole(1), default=4, help="at the same time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=whole(1), default=th.get_num_threads())
    parser.add_argument(
        "--trusted", action="store_true", help="also load files that run code: of dreamzoo 0.1"
    )
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        from dreamzoo.playing.start import play  # says which extra it needs, if it is not there

        model: Any = load_model(args.model, args.device, args.trusted)
        if args.replay is not None:
            load_replay(model, args.replay, args.trusted)
        play(
            model,
            args.env,
            env_kwargs=dict(args.env_kwargs),
            normalizer=load_normalizer(args.model, args.trusted),
            port=args.port,
            dreams=args.dreams,
            seed=args.seed,
            fps=args.fps,
            browsers=args.browsers,
        )
