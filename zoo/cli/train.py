"""
Train an agent, evaluate it on the way, keep everything that is needed to go on.

    dreamzoo train --env CartPole-v1 --n-envs 16 --steps 24000 --eval-every 2000
    dreamzoo train --env dmc/cartpole-balance --policy MultiInputPolicy -p size=1m
    dreamzoo train --agent sac --env Pendulum-v1 --deterministic-eval
    dreamzoo train --agent planet --env dmc_pixels/cartpole-swingup --published
    dreamzoo train --env CartPole-v1 --out runs/cartpole --resume

Writes to ``--out``: config.json, progress.csv, TensorBoard logs, evaluations.npz, model.zip,
replay_buffer.pkl (not PPO, which has no replay) and with ``--normalize`` vecnormalize.pkl, the last
three also on the way. A resumed run adds
to them: an entry to config.json, progress_<step>.csv, further rows to evaluations.npz.
"""

import argparse
import json
import platform
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import dreamzoo
from dreamzoo import AGENTS
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.cli.arguments import make_parser, parse_value
from dreamzoo.common.normalizer import NORMALIZER
from dreamzoo.envs import make_env
from dreamzoo.hyperparams import HYPERPARAMS

#: SB3's own agents to compare with, trained and evaluated by the same loop.
BASELINES: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC}
LOG_FORMATS = ("csv", "tensorboard", "log")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser("train", __doc__)
    parser.add_argument("--agent", default="dreamer_v3", choices=AGENTS | BASELINES)
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
        "--published", action="store_true", help="the paper's settings (dreamzoo.hyperparams)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/train"))
    parser.add_argument("--resume", action="store_true", help="go on from --out")
    args = parser.parse_args(argv)
    if args.published:
        settings = published(args.agent, args.env)
        parser.set_defaults(policy=settings["policy"], steps=settings["steps"])
        args = parser.parse_args(argv)
        # What the command line says still counts, key by key: the last of two entries does.
        for name in ("env_kwargs", "policy_kwargs", "agent_kwargs"):
            setattr(args, name, settings[name] + getattr(args, name))
    return args


def published(agent: str, env: str) -> dict[str, Any]:
    """
    Look up the published settings of an agent on an environment, as this script's arguments.

    :raises SystemExit: if there are none
    """
    known = HYPERPARAMS.get(agent, {})
    if env not in known:
        raise SystemExit(f"No published settings of {agent} on {env}; there are: {sorted(known)}.")
    settings = dict(known[env])
    return {
        "policy": settings.pop("policy"),
        "steps": settings.pop("n_timesteps"),
        "env_kwargs": list(settings.pop("env_kwargs", {}).items()),
        "policy_kwargs": list(settings.pop("policy_kwargs", {}).items()),
        "agent_kwargs": list(settings.items()),
    }


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Say what ran where: arguments, versions, machine and commit."""
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "args": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
        "commit": commit,
        "versions": {"dreamzoo": dreamzoo.__version__, "torch": th.__version__},
        "machine": f"{platform.machine()}, {platform.system()}, {args.threads} threads",
    }


def check_resumed(args: argparse.Namespace) -> None:
    """
    Refuse to go on from a run with other environments: nothing of it would fit.

    :raises SystemExit: names what differs
    """
    path = args.out / "config.json"
    if not path.exists():
        raise SystemExit(f"There is no run in {args.out} to go on from.")
    before = json.loads(path.read_text())[-1]["args"]
    now = json.loads(json.dumps(describe(args)["args"]))
    for name in ("agent", "env", "env_kwargs", "n_envs", "normalize"):
        if before.get(name, now[name]) != now[name]:
            raise SystemExit(
                f"The run in {args.out} has {name}={before[name]!r}; it cannot go on with "
                f"{now[name]!r}."
            )


def note_run(args: argparse.Namespace) -> None:
    """Write config.json: one entry for the start and one for every time it was resumed."""
    path = args.out / "config.json"
    earlier = json.loads(path.read_text()) if args.resume else []
    path.write_text(json.dumps([*earlier, describe(args)], indent=2) + "\n")


class Evaluation(EvalCallback):
    """
    SB3's callback; which episodes it plays does not depend on whether the run was interrupted.

    :param env: to evaluate in
    :param seed: of the episodes
    :param kwargs: of ``EvalCallback``
    """

    def __init__(self, env: VecEnv, seed: int, **kwargs: Any) -> None:
        super().__init__(env, **kwargs)
        self.seed = seed

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            self.eval_env.seed(self.seed + self.n_calls)
        return super()._on_step()

    def go_on(self, num_timesteps: int, n_envs: int) -> None:
        """Continue the table of evaluations instead of beginning a new one."""
        self.n_calls = num_timesteps // n_envs
        assert self.log_path is not None
        path = Path(self.log_path + ".npz")
        if not path.exists():
            return
        table = np.load(path)
        kept = table["timesteps"] <= num_timesteps
        self.evaluations_timesteps = table["timesteps"][kept].tolist()
        self.evaluations_results = table["results"][kept].tolist()
        self.evaluations_length = table["ep_lengths"][kept].tolist()


def make_envs(args: argparse.Namespace) -> tuple[VecEnv, VecEnv]:
    """Make the environments of training and of evaluation."""
    maker = partial(make_env, args.env, **dict(args.env_kwargs))
    env = make_vec_env(maker, n_envs=args.n_envs, seed=args.seed)
    eval_env = make_vec_env(maker, n_envs=args.eval_episodes)
    if not args.normalize:
        return env, eval_env
    if args.resume:
        env = VecNormalize.load(str(args.out / NORMALIZER), env)
    else:
        env = VecNormalize(env, norm_reward=False)
    # EvalCallback hands it the statistics of training; it gathers none.
    return env, VecNormalize(eval_env, training=False, norm_reward=False)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    if args.resume:
        check_resumed(args)
    args.out.mkdir(parents=True, exist_ok=True)
    note_run(args)
    env, eval_env = make_envs(args)
    agent = (AGENTS | BASELINES)[args.agent]
    if args.resume:
        model = agent.load(args.out / "model.zip", env=env, device=args.device)
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(args.out / "replay_buffer.pkl")
    else:
        model = agent(
            args.policy,
            env,
            policy_kwargs=dict(args.policy_kwargs),
            seed=args.seed,
            device=args.device,
            verbose=1,
            **dict(args.agent_kwargs),
        )
    # A resumed run writes progress_<step>.csv beside the earlier files, not over them.
    suffix = f"_{model.num_timesteps}" if args.resume else ""
    formats = [make_output_format(name, str(args.out), suffix) for name in LOG_FORMATS]
    model.set_logger(Logger(str(args.out), formats))
    evaluation = Evaluation(
        eval_env,
        args.seed + 1_000,
        n_eval_episodes=args.eval_episodes,
        eval_freq=max(args.eval_every // args.n_envs, 1),
        log_path=str(args.out),
        deterministic=args.deterministic_eval,
    )
    if args.resume:
        evaluation.go_on(model.num_timesteps, args.n_envs)
    model.learn(
        args.steps - model.num_timesteps,
        callback=[evaluation, SaveCallback(args.out, args.save_every)],
        reset_num_timesteps=not args.resume,
    )
