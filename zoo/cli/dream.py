"""
Show what a trained world model predicts: truth, model, error.

    dreamzoo dream --model runs/train/model.zip --replay runs/train/replay_buffer.pkl

Reads real sequences from the saved replay, lets the model see their first frames and go on with
the actions alone. Writes a video for each image, and a figure of everything else. Observations are
normalized as in training if vecnormalize.pkl lies beside the model.
"""

from pathlib import Path

from dreamzoo.analysis.callbacks import DreamVideoCallback
from dreamzoo.analysis.open_loop_files import write_open_loop
from dreamzoo.cli.arguments import make_parser, plain_errors, seed, whole
from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.envs.dreams.load_model import load_model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("dream", __doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--replay", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/dream"))
    parser.add_argument("--sequences", type=whole(1), default=6)
    parser.add_argument("--length", type=whole(1), default=45, help="steps")
    parser.add_argument("--context", type=whole(1), default=5, help="steps that the model sees")
    parser.add_argument("--scale", type=whole(1), default=2, help="magnification of images")
    parser.add_argument("--seed", type=seed, default=0)
    args = parser.parse_args(argv)
    with plain_errors():
        look = DreamVideoCallback(
            n_sequences=args.sequences, length=args.length, context=args.context, seed=args.seed
        )
        model = load_model(args.model)
        model.load_replay_buffer(args.replay)
        look.init_callback(model)
        shown = look.look(load_normalizer(args.model))
        args.out.mkdir(parents=True, exist_ok=True)
    write_open_loop(args.out, shown, model.policy.observation_codec, args.scale)
    print(f"Wrote {', '.join(sorted(path.name for path in args.out.iterdir()))} to {args.out}/")
