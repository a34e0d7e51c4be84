"""
What ranks do together, for tests that look at it from outside: run by every rank.

    torchrun --nproc_per_node 2 tests/common/rank_scenarios.py FOLDER SCENARIO ...

Each scenario leaves what it found on rank i in ``FOLDER/SCENARIO.i.json``.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv

from dreamzoo import AGENTS
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.nn.fast import ranks
from dreamzoo.nn.returns import ReturnNormalizer
from dreamzoo.nn.state import select

CPU = th.device("cpu")
LEARNERS = ("dreamer_v3", "dreamer_v2", "dreamer_v2_vq", "dreamer_v1", "planet", "merlin")


def make(name: str, n_envs: int = 1, **given: Any) -> Any:
    """Make the smallest agent of a kind; every rank has one row of its batch."""
    kind: Any = AGENTS[name.removesuffix("_vq")]
    settings = {**kind.smallest, "seed": 0, "device": "cpu", **given}
    if "batch_size" in settings:
        settings["batch_size"] = max(settings["batch_size"], ranks.place().count)
    if name.endswith("_vq"):
        settings["policy_kwargs"] = {**settings["policy_kwargs"], "latents": "vq"}
    return kind("MlpPolicy", make_vec_env("Pendulum-v1", n_envs), **settings)


def tensors(agent: Any) -> list[th.Tensor]:
    """List whatever has to be equal on all ranks."""
    states = [s for x in agent.policy.optimizers.values() for s in x.state.values()]
    of_optimizers = [x for s in states for x in s.values() if isinstance(x, th.Tensor)]
    return [*agent.policy.parameters(), *agent.policy.buffers(), *of_optimizers]


def state(agent: Any) -> dict[str, Any]:
    """Say where an agent stands."""
    return {
        "bits": ranks.checksum(tensors(agent)),
        "counters": [agent.num_timesteps, agent._n_updates, getattr(agent, "_episodes", 0)],
        "seen": float(np.sum(agent._last_obs)),
    }


class Calls(BaseCallback):
    """Counts the calls of a callback, and what it knew of all steps."""

    def __init__(self, on_all_ranks: bool = False) -> None:
        super().__init__()
        self.on_all_ranks = on_all_ranks
        self.steps: list[int] = []

    def _on_step(self) -> bool:
        self.steps.append(self.num_timesteps)
        return True


class StopsOn(BaseCallback):
    """Ends training, or the process, on one rank at a step."""

    on_all_ranks = True

    def __init__(self, rank: int, step: int, how: Callable[[], bool]) -> None:
        super().__init__()
        self.rank, self.step, self.how = rank, step, how

    def _on_step(self) -> bool:
        if ranks.index() == self.rank and self.num_timesteps >= self.step:
            return self.how()
        return True


def learn(name: str, steps: int) -> dict[str, Any]:
    """Let an agent learn."""
    agent, first, all_of_them = make(name, verbose=1), Calls(), Calls(on_all_ranks=True)
    began = ranks.checksum(agent.policy.parameters())
    agent.learn(steps, callback=[first, all_of_them])
    found = {"began": began, "logs": len(agent.logger.output_formats), **state(agent)}
    return found | {"first": first.steps, "all": all_of_them.steps}


def resumed(name: str, folder: Path) -> dict[str, Any]:
    """Let an agent learn with and without a break."""
    agent = make(name)
    agent.learn(40, callback=SaveCallback(folder, every=40))
    saved = state(agent)
    agent.learn(24, reset_num_timesteps=False)
    again = type(agent).load(folder, env=make_vec_env("Pendulum-v1", 1), device="cpu", trusted=True)
    again.resume(folder, trusted=True)
    loaded = state(again)
    again.learn(24, reset_num_timesteps=False)
    return {"whole": state(agent), "resumed": state(again), "saved": saved, "loaded": loaded}


def resumed_from(folder: Path) -> dict[str, Any]:
    """Go on from the last save of a training that was broken off."""
    env = make_vec_env("Pendulum-v1", 1)
    kind: Any = AGENTS["dreamer_v3"]
    agent = kind.load(folder, env=env, device="cpu", trusted=True)
    agent.resume(folder, trusted=True)
    agent.learn(24, reset_num_timesteps=False)
    return state(agent)


def short() -> dict[str, Any]:
    """Learn from replays that hold less than a window, each of another length."""
    kind: Any = AGENTS["dreamer_v3"]
    given = {**kind.smallest, "batch_length": 32, "learning_starts": 4, "gradient_steps": 1}
    agent = kind("MlpPolicy", make_vec_env("CartPole-v1", 1), **given, seed=0, device="cpu")
    agent.learn(60)
    return state(agent) | {"window": agent.replay_buffer.longest_window()}


def stopped(name: str, folder: Path) -> dict[str, Any]:
    """Let a callback of the second rank stop the training of all, in the middle of a window."""
    given = {"n_steps": 4} if name == "merlin" else {"train_freq": 4}
    agent = make(name, **given)
    stop = StopsOn(1, 20, lambda: False)
    agent.learn(60, callback=[stop, SaveCallback(folder, every=100)])
    found = state(agent)
    agent.learn(4, reset_num_timesteps=False)
    return found | {"after": agent.num_timesteps}


def again() -> dict[str, Any]:
    """Work together in one team and then in another, and look who seems to have ended."""
    ended = []
    for device in ("cpu", "cpu:0"):
        with ranks.together("the test", th.device(device)):
            team = ranks.current()
            assert team is not None
            assert team.watch is not None
            store = team.watch._store
            ended.append([store.check([f"done/{i}"]) for i in range(team.count)])
    return {"ended": ended}


def refused() -> dict[str, Any]:
    """Learn with other settings on every rank."""
    agent = make("dreamer_v3", gamma=0.9 + 0.01 * ranks.place().index)
    try:
        agent.learn(20)
    except ValueError as error:
        return {"error": str(error)}
    return {}


# ------------------------------------------------------------------ gradients


@contextmanager
def same_noise_in_every_row() -> Any:
    """Draw numbers that depend on the last axis alone, so that batches can be split."""
    drawn = th.rand, th.randn
    row = th.rand(4096, generator=th.Generator().manual_seed(3))

    def shape_of(size: Any) -> tuple[int, ...]:
        return tuple(size[0]) if size and not isinstance(size[0], int) else tuple(size)

    def rand(*size: Any, **_: Any) -> th.Tensor:
        shape = shape_of(size)
        return (row[: shape[-1]] if len(shape) > 1 else row[:1]).expand(shape).clone()

    th.rand, th.randn = rand, lambda *size, **_: 2 * rand(*size) - 1
    try:
        yield
    finally:
        th.rand, th.randn = drawn


def half_of(batch: Any, here: slice) -> Any:
    """Take a rank's rows of a batch, or of a window in which no episode ends."""
    if not isinstance(batch, RolloutWindow):
        return batch.rows(th.arange(len(batch.rewards))[here])
    assert not len(batch.endings.rows)
    last: Any = batch.endings.observations
    ends = batch.endings._replace(observations=last[:0])
    window: list[Any] = list(batch)
    parts = [x if x is None else x[here] for x in window[:-2]]
    return RolloutWindow._make([*parts, ends, select(batch.start, here)])


def gradients(agent: Any, batch: Any) -> th.Tensor:
    """Compute the gradient of everything, and put what moved meanwhile back."""
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    agent._learn_from(batch)
    agent.policy.load_state_dict(before)
    grads = [p.grad for p in agent.policy.parameters() if p.grad is not None]
    return th.cat([x.flatten() for x in grads])


def gradient(name: str) -> dict[str, Any]:
    """Compare the gradient of two ranks with that of one process that has both batches."""
    with ranks.together("the test", CPU), same_noise_in_every_row():
        agent = make(name, n_envs=2)
        agent.learn(40)  # within the learning of another: alone
        first = getattr(agent.policy, "return_normalizer", None)
        if first is not None:
            first.limit, first.rate = 1e-6, 1.0  # so that returns are divided
        agent.policy.world_model.learned_gamma.fill_(0.5)
        window = name == "merlin"
        batch = agent.rollout_buffer.window(CPU) if window else agent.replay_buffer.sample(4)
        flat = [x for x in th.utils._pytree.tree_leaves(batch) if isinstance(x, th.Tensor)]
        ranks.spread([*agent.policy.parameters(), *agent.policy.buffers(), *flat])
        agent._begin_updates()
        rows = len(batch.rewards) // 2
        halves = [half_of(batch, slice(i * rows, (i + 1) * rows)) for i in range(2)]
        half = halves[ranks.index()]
        if name in ("dreamer_v1", "dreamer_v2"):  # one half has more free nats, and both have less
            nats = [float(agent.losses(x).metrics["kl"].mean().detach()) for x in halves]
            agent.free_nats = 0.25 * sum(nats) + 0.5 * max(nats)
        together = gradients(agent, half)
        with ranks.together("nobody else", CPU):
            whole, alone = gradients(agent, batch), gradients(agent, half)
    scale = float(whole.norm())
    return {
        "off": float((together - whole).norm()) / scale,
        "alone": float((alone - whole).norm()) / scale,
        "norm": scale,
    }


def statistics() -> dict[str, Any]:
    """Move averages with the batches of all ranks."""
    normalizer, whole, own = (ReturnNormalizer(rate=0.5) for _ in range(3))
    returns = th.rand(2, 50, generator=th.Generator().manual_seed(0))
    with ranks.together("the test", CPU):
        with ranks.joint_losses():
            normalizer.update(returns[ranks.index()])
        whole.update(returns)  # not the losses of an update: nobody else is asked
        own.update(returns[ranks.index()])
    found = {"joint": normalizer, "whole": whole, "own": own}
    return {name: x.high_value.item() for name, x in found.items()} | {"color": first_color()}


def first_color() -> float:
    """Return where a decoder begins; every rank has seen a level of its own."""
    kind: Any = AGENTS["dreamer_v2"]
    env = FakeImageEnv(screen_height=9, screen_width=9)
    model = kind("CnnPolicy", env, seed=0, device="cpu", **kind.smallest).world_model
    with ranks.together("the test", CPU):
        level = 51 * (1 + ranks.index())
        model.start_at(th.full((1, 2, 1, 9, 9), level, dtype=th.uint8))
    return model.decoder.grids.nets[0].layers[-1].bias[0].item()


# ------------------------------------------------------------------ what goes wrong


def killed(rank: int, folder: Path) -> dict[str, Any]:
    """Learn until a rank is killed."""

    def kill() -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    stop = StopsOn(rank, 60, kill)
    make("dreamer_v3").learn(4_000, callback=[stop, SaveCallback(folder, every=20)])
    return {}


def raises(folder: Path) -> dict[str, Any]:
    """Learn until the second rank raises, while the first one is busy with something else."""

    def fail() -> bool:
        raise ValueError("this environment is broken")

    def wait() -> bool:
        time.sleep(100)
        return True

    waits, stop = StopsOn(0, 60, wait), StopsOn(1, 60, fail)
    make("dreamer_v3").learn(4_000, callback=[waits, stop, SaveCallback(folder, every=20)])
    return {}


def do(name: str, argument: str, folder: Path) -> dict[str, Any]:
    """Do what a scenario says, on all ranks."""
    known: dict[str, Callable[[], dict[str, Any]]] = {
        "learn": lambda: learn(argument.partition("*")[0], int(argument.partition("*")[2])),
        "resumed": lambda: resumed(argument, folder / f"saves_{argument}"),
        "gradient": lambda: gradient(argument),
        "stopped": lambda: stopped(argument, folder / f"stopped_{argument}"),
        "killed": lambda: killed(int(argument), folder / "saves"),
        "raises": lambda: raises(folder / "saves"),
        "resumed_from": lambda: resumed_from(folder / "saves"),
        "refused": refused,
        "short": short,
        "again": again,
        "statistics": statistics,
    }
    return known[name]()


def main() -> None:
    th.set_num_threads(1)
    folder = Path(sys.argv[1])
    for scenario in sys.argv[2:]:
        name, _, argument = scenario.partition(":")
        found = do(name, argument, folder)
        path = folder / f"{scenario.replace(':', '_')}.{ranks.place().index}.json"
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
