"""
Show what an agent with an external memory reads.

    dreamzoo attention --model runs/t-maze --env dreamzoo/TMaze-v0 -e length=50

Plays one episode, or its first --steps, writes a picture, a column for every step, and prints one
JSON line: what they returned, and which rows had most weight in the last step. Row i was written
after step i, and later again if the memory became full.
"""

import json
from pathlib import Path

import torch as th

from dreamzoo.analysis.attention import attention_figure, read_attention
from dreamzoo.cli.arguments import (
    add_model,
    make_parser,
    picture,
    plain_errors,
    seed,
    whole,
)
from dreamzoo.cli.real_env import add_env, make_real_env
from dreamzoo.common.storage.agents import load
from dreamzoo.merlin.external_memory import ExternalMemoryAgent


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("attention", __doc__)
    add_env(parser, required=True)
    add_model(parser)
    parser.add_argument("--sampled", action="store_true", help="default: most likely actions")
    parser.add_argument("--seed", type=seed, default=10_000)
    parser.add_argument("--steps", type=whole(1), default=2_000, help="at most; default: 2000")
    parser.add_argument("--out", type=picture, default=Path("attention.png"))
    args = parser.parse_args(argv)
    with plain_errors():
        model = load(args.model, trusted=args.trusted)
        if not isinstance(model, ExternalMemoryAgent) or model.policy.external_memory is None:
            raise ValueError(f"The {type(model).__name__} in {args.model} has no external memory.")
        env = make_real_env(args, model, 1)
    th.manual_seed(args.seed)
    seen = read_attention(model, env, deterministic=not args.sampled, steps=args.steps)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    attention_figure(seen).savefig(args.out, dpi=150)
    last = seen.weights[-1].mean(0)
    result = {
        "return": round(float(seen.rewards.sum()), 4),
        "steps": len(seen.rewards),
        "last_step": {int(row): round(float(last[row]), 3) for row in last.argsort()[:-4:-1]},
        "picture": str(args.out),
    }
    print(json.dumps(result))
