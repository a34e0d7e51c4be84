"""
Roll a policy out in the real environment and in a learned dream of it, and compare.

    dreamzoo compare --model runs/demo/model.zip --env CartPole-v1
    dreamzoo compare --model runs/demo/model.zip --policy random --horizon 50

Both begin with the same first observations. Prints the model's error by step, for the same
actions, and the returns of the policy here and there; writes them to ``--out`` as JSON and as a
picture.
"""

import json
from pathlib import Path

import torch as th

from dreamzoo.analysis.agreement import compare_with_dream
from dreamzoo.analysis.agreement_report import agreement_figure, agreement_table
from dreamzoo.analysis.sb3_agents import load_policy
from dreamzoo.cli.arguments import add_model, add_threads, make_parser, plain_errors, seed, whole
from dreamzoo.cli.real_env import add_env, make_real_env
from dreamzoo.common.storage.files import check_folder
from dreamzoo.envs.dreams.load_model import load_model


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("compare", __doc__)
    add_model(parser)
    add_env(parser, default="CartPole-v1")
    parser.add_argument("--policy", default="agent", help="agent, random, ppo:FILE with --trusted")
    parser.add_argument("--episodes", type=whole(1), default=20)
    parser.add_argument("--horizon", type=whole(1), default=500)
    parser.add_argument("--deterministic", action="store_true", help="default: sampled policy")
    parser.add_argument("--seed", type=seed, default=10_000)
    add_threads(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    with plain_errors():
        model = load_model(args.model, trusted=args.trusted)
        env = make_real_env(args, model, args.episodes)
        policy = load_policy(args.policy, model, env, args.trusted)
        check_folder(args.out)
    result = compare_with_dream(
        model,
        policy,
        env,
        args.horizon,
        deterministic=args.deterministic,
        seed=args.seed,
    )
    print(agreement_table(result))
    summary = {name: values.tolist() for name, values in result._asdict().items()}
    (args.out / "agreement.json").write_text(json.dumps(summary) + "\n")
    agreement_figure(result).savefig(args.out / "agreement.png", dpi=120)
    print(f"Wrote agreement.json and agreement.png to {args.out}/")
