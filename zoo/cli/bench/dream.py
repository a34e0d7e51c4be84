"""
Measure how many steps a second a dream makes, beside the real environment.

    dreamzoo bench dream --envs CartPole-v1 dmc/walker-walk atari/pong

    dreamzoo bench dream --envs synthetic/vector --sizes 1m 12m --device cuda \\
        --dreams 1 256 4096 16384 --graph on off --only-dreams

One JSON line per environment, size and graph: steps per second of the real environment, of
``DreamVectorEnv`` at several numbers of dreams, and of its face for Stable-Baselines3; and what the
wrappers cost, as a share of a step of ``--share-at`` dreams. The models are untrained: a step costs
the same.
``--only-dreams`` leaves out all but the steps of ``DreamVectorEnv``, and ``synthetic/vector`` and
``synthetic/image`` are environments of dm_control's shapes that need nothing installed.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3
from dreamzoo.benchmark.cases import wait_for_turn
from dreamzoo.benchmark.synthetic import Synthetic
from dreamzoo.cli.arguments import make_parser
from dreamzoo.envs import DreamVecEnv, DreamVectorEnv, make_env
from dreamzoo.nn.fast.graphs import WARMUP
from dreamzoo.nn.fast.precision import NAMES, resolve
from dreamzoo.wrappers import vector

#: Turns of every two that are compared.
ROUNDS = 5


def rate(step: Callable[[], Any], steps: int, seconds: float) -> float:
    """
    Count steps per second.

    :param step: makes ``steps`` steps
    :param seconds: how long to look, after one call that does not count
    """
    step()
    calls, spent, start = 0, 0.0, time.perf_counter()
    while not calls or spent < seconds:
        step()
        calls, spent = calls + 1, time.perf_counter() - start
    return calls * steps / spent


def extra_cost(plain: Callable[[], Any], other: Callable[[], Any], seconds: float) -> float:
    """
    Say how much longer one kind of step takes than another, as a share of the other.

    Both take turns, so that a machine that slows down slows both.
    """
    ratios = []
    for _ in range(ROUNDS):
        rates = [rate(step, 1, seconds / ROUNDS) for step in (plain, other)]
        ratios.append(rates[0] / rates[1] - 1)
    return round(float(np.median(ratios)), 3)


def real_rate(name: str, seconds: float) -> float:
    """Measure one real environment under random actions, resets included."""
    env = make(name)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(100)]

    def step() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    measured = rate(step, len(actions), seconds)
    env.close()
    return measured


def stepper(env: VectorEnv, device: th.device) -> Callable[[], Any]:
    """Prepare to step a vector environment in torch with the same random actions every time."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = th.as_tensor(env.action_space.sample(), device=device)

    def step() -> None:
        env.step(actions)
        if device.type == "cuda":
            th.cuda.synchronize(device)

    if device.type == "cuda":  # recorded before anyone looks at the clock
        for _ in range(WARMUP + 1):
            step()
    return step


def sb3_stepper(env: DreamVecEnv) -> Callable[[], Any]:
    """Prepare to step the face for Stable-Baselines3."""
    env.reset()
    actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
    return lambda: env.step(actions)


def wrappers_for(dream: DreamVectorEnv) -> dict[str, Callable[[VectorEnv], VectorEnv]]:
    """List the wrappers that fit the spaces of a dream."""
    listed: dict[str, Callable[[VectorEnv], VectorEnv]] = {
        "SymlogReward": vector.SymlogReward,
        "TanhReward": vector.TanhReward,
        "EpisodeDiscount": vector.EpisodeDiscount,
        "PreviousActionReward": vector.PreviousActionReward,
    }
    if isinstance(dream.single_action_space, spaces.Discrete):
        listed["OneHotAction"] = vector.OneHotAction
    else:
        listed["NormalizeAction"] = vector.NormalizeAction
    if "uint8" not in str(dream.single_observation_space):
        listed["SymlogObservation"] = vector.SymlogObservation
    return listed


def make(name: str) -> gym.Env:
    """Make an environment by its name."""
    suite, _, obs = name.partition("/")
    return Synthetic(obs) if suite == "synthetic" else make_env(name)


def measure(name: str, size: str | None, graph: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything about one environment."""
    env = make_vec_env(lambda: make(name), 1, seed=0)
    is_dict = isinstance(env.observation_space, spaces.Dict)
    is_image = len(env.observation_space.shape or ()) == 3
    policy = "MultiInputPolicy" if is_dict else "CnnPolicy" if is_image else "MlpPolicy"
    model = DreamerV3(
        policy,
        env,
        policy_kwargs=dict(size=size),
        device=args.device,
        precision=args.precision,
        cuda_graph=graph == "on",
        buffer_size=10,
    )

    def dream(n: int, **kwargs: Any) -> DreamVectorEnv:
        return DreamVectorEnv(model, n, details=False, **kwargs)

    device = model.device
    result = {
        "env": name,
        "size": size or ("12m" if model.policy.observation_codec.image_keys else "1m"),
        "device": str(device),
        "threads": args.threads,
        "precision": resolve(args.precision, device),
        "graph": graph == "on" and device.type == "cuda",
        "dream_steps_per_second": {
            m: round(rate(stepper(dream(m), device), m, args.seconds)) for m in args.dreams
        },
    }
    if args.only_dreams:
        return result
    n = args.share_at
    others = {
        title: stepper(wrap(dream(n)), device) for title, wrap in wrappers_for(dream(1)).items()
    }
    repeated = vector.RepeatAction(dream(n, autoreset_mode=AutoresetMode.DISABLED), 1)
    others |= {
        "RepeatAction(1)": stepper(repeated, device),
        "details=True": stepper(DreamVectorEnv(model, n), device),
        "DreamVecEnv": sb3_stepper(model.dream_env(n)),
    }
    plain = stepper(dream(n), device)
    shares = {title: extra_cost(plain, other, args.seconds) for title, other in others.items()}
    real = round(real_rate(name, args.seconds))
    return result | {"real_steps_per_second": real, f"extra_cost_at_{n}": shares}


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench dream", __doc__)
    parser.add_argument(
        "--envs", nargs="+", default=["CartPole-v1", "dmc/walker-walk", "atari/pong"]
    )
    parser.add_argument("--dreams", type=int, nargs="+", default=[1, 16, 256, 1024])
    parser.add_argument("--share-at", type=int, default=256, help="dreams")
    parser.add_argument(
        "--sizes", nargs="+", default=[None], help="default: the agent's own for the environment"
    )
    parser.add_argument("--precision", choices=NAMES, default="auto")
    parser.add_argument(
        "--graph", nargs="+", choices=("on", "off"), default=["on"], help="of a step, on CUDA"
    )
    parser.add_argument("--only-dreams", action="store_true")
    parser.add_argument("--hold", action="store_true", help="wait for a line of input to begin")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="for every figure")
    args = parser.parse_args(argv)
    th.set_num_threads(args.threads)
    if args.hold:
        wait_for_turn()
    for name, size, graph in product(args.envs, args.sizes, args.graph):
        print(json.dumps(measure(name, size, graph, args)), flush=True)
