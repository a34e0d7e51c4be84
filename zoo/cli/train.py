"""
Train an agent, evaluate it on the way, keep everything that is needed to resume.

    dreamzoo train --env CartPole-v1 --n-envs 16 --steps 24000 --eval-every 2000
    dreamzoo train --env dmc/cartpole-balance --policy MultiInputPolicy -p size=1m
    dreamzoo train --agent sac --env Pendulum-v1 --deterministic-eval
    dreamzoo train --agent recurrent_ppo --env dreamzoo/TMaze-v0 -e length=10
    dreamzoo train --agent planet --env dmc_pixels/cartpole-swingup --published
    dreamzoo train --agent dreamer_v2 --env atari/pong --published schedules no_layer_norm
    dreamzoo train --env dmc_vision/walker-walk --published
    dreamzoo train --out runs/cartpole --resume
    torchrun --nproc_per_node 2 -m dreamzoo train --env CartPole-v1 --n-envs 8

Writes to ``--out``: config.json, progress.csv, TensorBoard logs, evaluations.npz, and on the way
and at the end a save, which is a folder with model.zip and whatever resuming needs; saves.json
names it. A resumed run trusts these files, see docs/files.md, and adds to the others:
an entry to config.json, progress_<step>.csv, further rows to evaluations.npz. It is what
config.json says, unless --steps, --eval-every, --save-every, --label, --device or --threads say
otherwise.
"""

import argparse
from pathlib import Path
from typing import Any

import torch as th

from dreamzoo import AGENTS
from dreamzoo.benchmark.run_config import PAIRED, Run, continued, default_policy
from dreamzoo.benchmark.runs import prepare
from dreamzoo.cli.arguments import add_pairs, device_here, make_parser, plain_errors, seed, whole
from dreamzoo.common.storage.agents import CONTRIB_AGENTS, SB3_AGENTS
from dreamzoo.envs import env_name
from dreamzoo.hyperparams import published
from dreamzoo.nn.fast.ranks import place


def make_train_parser() -> argparse.ArgumentParser:
    """Make the parser, which returns only what is said: a resumed run has the rest already."""
    parser = make_parser("train", __doc__, argument_default=argparse.SUPPRESS)
    agents = [*AGENTS, *SB3_AGENTS, *CONTRIB_AGENTS]
    parser.add_argument("--agent", choices=agents, help="default: dreamer_v3")
    parser.add_argument(
        "--env", type=env_name, help="default: CartPole-v1; see dreamzoo.envs.make_env"
    )
    add_pairs(parser, "-e", "--env-kwargs", "the environment")
    parser.add_argument(
        "--policy", help="default: MlpPolicy, CnnPolicy or MultiInputPolicy, by the suite"
    )
    add_pairs(parser, "-p", "--policy-kwargs", "the policy")
    add_pairs(parser, "-a", "--agent-kwargs", "the agent's constructor")
    parser.add_argument(
        "--normalize", action="store_true", help="observations of mean 0 and variance 1"
    )
    parser.add_argument("--n-envs", type=whole(1), help="of every rank, default: 1")
    parser.add_argument(
        "--stagger",
        type=whole(0),
        help="first episodes end after a random number of up to so many steps; default: 0, as all",
    )
    parser.add_argument(
        "--steps", type=whole(1), help="of all environments together, default: 24000"
    )
    parser.add_argument("--eval-every", type=whole(1), help="steps, default: 2000")
    parser.add_argument("--eval-episodes", type=whole(1), help="default: 10")
    parser.add_argument("--deterministic-eval", action="store_true", help="default: sampled policy")
    parser.add_argument("--save-every", type=whole(1), help="steps, default: 2000")
    parser.add_argument("--seed", type=seed, help="default: 0")
    parser.add_argument("--device", type=device_here, help="default: auto")
    parser.add_argument("--threads", type=whole(1))
    parser.add_argument(
        "--published",
        nargs="*",
        metavar="VARIANT",
        help="the paper's settings (dreamzoo.hyperparams), and which of its variants",
    )
    parser.add_argument("--label", help="its name in tables and pictures, default: the agent's")
    parser.add_argument("--out", type=Path, help="default: runs/train")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="continue the run in --out")
    earlier.add_argument("--overwrite", action="store_true", help="remove the run in --out first")
    return parser


def parse_args(argv: list[str] | None = None) -> Run:
    """Read the command line, and what it leaves out where that is written."""
    given = {"out": Path("runs/train"), **vars(make_train_parser().parse_args(argv))}
    with plain_errors():
        if given.get("resume"):
            return continued(given)
        given = {"agent": "dreamer_v3", "env": "CartPole-v1"} | given
        if "published" in given:
            given = add_published(given)
    named = default_policy(given["agent"], given["env"], given.get("env_kwargs", []))
    missing: dict[str, Any] = {"policy": named, "threads": th.get_num_threads()}
    return Run(**missing | given)


def add_published(given: dict[str, Any]) -> dict[str, Any]:
    """Add a paper's settings to what the command line says, which still counts, key by key."""
    settings = published(given["agent"], given["env"], *given["published"])
    for name in PAIRED:  # of two entries the last counts
        settings[name] = settings[name] + given.get(name, [])
    return settings | {name: value for name, value in given.items() if name not in PAIRED}


def main(argv: list[str] | None = None) -> None:
    run = parse_args(argv)
    th.set_num_threads(run.threads)
    with plain_errors():
        train = prepare(run)
    model = train()
    if place().index == 0:
        print(_ending(run, model.num_timesteps))


def _ending(run: Run, steps: int) -> str:
    """Say where everything lies, and why there is no evaluation, if there is none."""
    ending = f"Trained for {steps:,} steps; {run.out} holds the agent"
    if (run.out / "evaluations.npz").exists():
        return f"{ending} and its evaluations."
    return f"{ending}. It was never evaluated: an evaluation comes every {run.eval_every:,} steps."
