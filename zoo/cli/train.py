"""
Train an agent, evaluate it on the way, keep everything that is needed to resume.

    dreamzoo train --env CartPole-v1 --n-envs 16 --steps 24000 --eval-every 2000
    dreamzoo train --env dmc/cartpole-balance --policy MultiInputPolicy -p size=1m
    dreamzoo train --agent sac --env Pendulum-v1 --deterministic-eval
    dreamzoo train --agent planet --env dmc_pixels/cartpole-swingup --published
    dreamzoo train --agent dreamer_v2 --env atari/pong --published schedules no_layer_norm
    dreamzoo train --env CartPole-v1 --out runs/cartpole --resume

Writes to ``--out``: config.json, progress.csv, TensorBoard logs, evaluations.npz, model.zip,
replay_buffer.pkl (of agents with a replay; what else resuming needs lies beside it) and with
``--normalize`` vecnormalize.pkl, all from model.zip on also on the way. A resumed run adds to them:
an entry to config.json, progress_<step>.csv, further rows to evaluations.npz.
"""

import argparse
from pathlib import Path

import torch as th

from dreamzoo import AGENTS
from dreamzoo.analysis.sb3_agents import SB3_AGENTS
from dreamzoo.benchmark.runs import Run, check_resumed, train
from dreamzoo.cli.arguments import make_parser, parse_value, plain_errors
from dreamzoo.hyperparams import published


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("train", __doc__)
    parser.add_argument("--agent", default="dreamer_v3", choices=AGENTS | SB3_AGENTS)
    parser.add_argument("--env", default="CartPole-v1", help="see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--policy", default="MlpPolicy")
    parser.add_argument("-p", "--policy-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("-a", "--agent-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument(
        "--normalize", action="store_true", help="observations of mean 0 and variance 1"
    )
    parser.add_argument("--n-envs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=24_000, help="of all environments together")
    parser.add_argument("--eval-every", type=int, default=2_000, help="steps")
    parser.add_argument("--eval-episodes", type=int, default=10)
    parser.add_argument("--deterministic-eval", action="store_true", help="default: sampled policy")
    parser.add_argument("--save-every", type=int, default=2_000, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument(
        "--published",
        nargs="*",
        metavar="VARIANT",
        help="the paper's settings (dreamzoo.hyperparams), and which of its variants",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/train"))
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args(argv)
    if args.published is not None:
        with plain_errors():
            settings = published(args.agent, args.env, *args.published)
        parser.set_defaults(policy=settings["policy"], steps=settings["steps"])
        args = parser.parse_args(argv)
        # What the command line says still counts, key by key: the last of two entries does.
        for name in ("env_kwargs", "policy_kwargs", "agent_kwargs"):
            setattr(args, name, settings[name] + getattr(args, name))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    run = Run(**vars(args))
    if run.resume:
        with plain_errors():
            check_resumed(run)
    train(run)
