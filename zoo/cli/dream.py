"""
Show what a trained world model predicts: truth, model, error.

    dreamzoo dream --model runs/train --replay runs/train
    dreamzoo dream --model runs/train --env CartPole-v1

Reads real sequences from the saved replay, or lets the agent play them in an environment. The
model sees their first steps and goes on with the actions alone. Writes a video for each image, and
a figure of everything else. Observations are normalized as in training if vecnormalize.zip lies
beside the model.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch as th

from dreamzoo.analysis.callbacks import DreamVideoCallback
from dreamzoo.analysis.open_loop import OpenLoop, open_loop
from dreamzoo.analysis.open_loop_files import write_open_loop
from dreamzoo.analysis.playing import play_sequences
from dreamzoo.cli.arguments import (
    add_model,
    add_replay,
    load_replay,
    make_parser,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.cli.real_env import add_env, make_real_env, parse_args
from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.common.storage.files import check_folder
from dreamzoo.envs.dreams.load_model import load_model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("dream", __doc__)
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    add_replay(source)
    add_env(parser, source, help="to play in, see dreamzoo.envs.make_env")
    parser.add_argument("--out", type=Path, default=Path("runs/dream"))
    parser.add_argument("--sequences", type=whole(1), default=6)
    parser.add_argument("--length", type=whole(1), default=45, help="steps")
    parser.add_argument("--context", type=whole(1), default=5, help="steps that the model sees")
    parser.add_argument("--scale", type=whole(1), default=2, help="magnification of images")
    parser.add_argument("--seed", type=seed, default=0)
    args = parse_args(parser, argv)
    with plain_errors():
        look = DreamVideoCallback(
            n_sequences=args.sequences, length=args.length, context=args.context, seed=args.seed
        )
        model = load_model(args.model, trusted=args.trusted)
        shown = _replayed(model, look, args) if args.env is None else _played(model, args)
        check_folder(args.out)
    written = write_open_loop(args.out, shown, model.policy.observation_codec, args.scale)
    print(f"Wrote {', '.join(sorted(written))} to {args.out}/")


def _replayed(model: Any, look: DreamVideoCallback, args: Namespace) -> OpenLoop:
    load_replay(model, args.replay, args.trusted)
    look.init_callback(model)
    return look.look(load_normalizer(args.model, args.trusted))


def _played(model: Any, args: Namespace) -> OpenLoop:
    env = make_real_env(args, model, args.sequences)
    sequences = play_sequences(model, env, args.length, seed=args.seed)
    generator = th.Generator(device=model.device).manual_seed(args.seed)
    return open_loop(model.policy, sequences, args.context, generator)
