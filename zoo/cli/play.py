"""
Steer the dream of a trained model in a browser, beside the real environment.

    dreamzoo play runs/demo --env CartPole-v1
    dreamzoo play model.zip

Prints the address of a page that only this machine reaches. There keys, sliders or the mouse steer
reality and dream with the same actions; the agent or a planner may play, too. Without --env the
dream is alone. Observations are normalized as in training if vecnormalize.zip lies beside the
model.
"""

from typing import Any

import torch as th

from dreamzoo.cli.arguments import (
    add_model,
    add_replay,
    add_threads,
    device_here,
    load_replay,
    make_parser,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.cli.real_env import add_env, parse_args
from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.envs.dreams.load_model import load_model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("play", __doc__)
    add_model(parser, "model")
    add_env(parser, help="the real one, see dreamzoo.envs.make_env")
    add_replay(parser, "for dreams that begin in recorded moments")
    parser.add_argument("--port", type=int, default=8765, help="0: any that is free")
    parser.add_argument("--dreams", type=whole(1), default=1, help="from the same moment")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--fps", type=whole(1), default=15, help="steps a second, at first")
    parser.add_argument("--browsers", type=whole(1), default=4, help="at the same time")
    parser.add_argument("--device", type=device_here, default="auto")
    add_threads(parser)
    args = parse_args(parser, argv)
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
