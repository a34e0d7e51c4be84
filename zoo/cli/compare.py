"""
Roll a policy out in the real environment and in a learned dream of it, and compare.

    dreamzoo compare --model runs/demo/model.zip --env CartPole-v1
    dreamzoo compare --model runs/demo/model.zip --policy random --horizon 50

Both begin with the same first observations. Prints the model's error by step, for the same
actions, and the returns of the policy here and there; writes them to ``--out`` as JSON and as a
picture.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from matplotlib.figure import Figure
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.agreement import Agreement, compare_with_dream
from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.cli.arguments import make_parser, parse_value
from dreamzoo.common.normalizer import as_in_training
from dreamzoo.envs import make_env
from dreamzoo.envs.dreams.load_model import load_model

SB3 = {agent.__name__.lower(): agent for agent in (A2C, DQN, PPO, SAC, TD3)}


def load_policy(name: str, model: Any, env: VecEnv) -> Any:
    """Get the agent itself, a random policy, or an SB3 agent given as ``ppo:path``."""
    if name == "agent":
        return model
    if name == "random":
        return RandomPolicy(env)
    kind, _, path = name.partition(":")
    if kind not in SB3 or not path:
        raise SystemExit(f"--policy {name}: expected agent, random or one of {sorted(SB3)}:FILE")
    return SB3[kind].load(path)


def table(result: Agreement, steps: list[int]) -> str:
    """Write the errors at some steps as lines of text."""
    lines = ["  step  running  observation   reward  continue"]
    for step in steps:
        errors = (x[step - 1] for x in result[:3])
        observation, reward, going = errors
        lines.append(
            f"{step:6d} {result.running[step - 1]:8d} {observation:12.3f} {reward:8.3f} "
            f"{going:9.3f}"
        )
    return "\n".join(lines)


def picture(result: Agreement) -> Figure:
    """Draw errors over the horizon, and the returns here and there."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(2, 2).flatten()
    names = ["observation error, standard deviations", "reward error", "continue error"]
    for axis, name, values in zip(axes, names, result[:3], strict=False):
        axis.plot(np.arange(1, len(values) + 1), values, color="tab:red")
        axis.set_ylim(bottom=0)
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel("step after the last real observation")
    axes[3].boxplot([result.real_returns, result.dream_returns])
    axes[3].set_xticks([1, 2], ["real", "dream"])
    axes[3].set_title("return of the policy", fontsize="medium")
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("compare", __doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--env", default="CartPole-v1", help="see dreamzoo.envs.make_env")
    parser.add_argument("-e", "--env-kwargs", nargs="*", type=parse_value, default=[])
    parser.add_argument("--policy", default="agent", help="agent, random or ppo:FILE, ...")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--horizon", type=int, default=500)
    parser.add_argument("--deterministic", action="store_true", help="default: sampled policy")
    parser.add_argument("--seed", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_model(args.model)
    maker = partial(make_env, args.env, **dict(args.env_kwargs))
    env = as_in_training(make_vec_env(maker, n_envs=args.episodes, seed=args.seed), args.model)
    result = compare_with_dream(
        model,
        load_policy(args.policy, model, env),
        env,
        args.horizon,
        deterministic=args.deterministic,
        seed=args.seed,
    )
    shown = [s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if s <= len(result.running)]
    print(table(result, shown))
    for place, returns in (("real", result.real_returns), ("dream", result.dream_returns)):
        spread = f" +- {returns.std(ddof=1):.1f} (s.d.)" if len(returns) > 1 else ""
        print(f"return in the {place:5s} {returns.mean():8.1f}{spread}")
    summary = {name: values.tolist() for name, values in result._asdict().items()}
    (args.out / "agreement.json").write_text(json.dumps(summary) + "\n")
    picture(result).savefig(args.out / "agreement.png", dpi=120)
    print(f"Wrote agreement.json and agreement.png to {args.out}/")
