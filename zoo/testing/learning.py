"""Promises about ``learn``: steps, callbacks, logs, seeds, and what is not its business."""

import math
from typing import Any

import numpy as np
import torch as th
from gymnasium import Wrapper
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo.testing.case import Case
from dreamzoo.testing.promises import (
    DREAMZOO,
    SB3,
    difference,
    promise,
    require,
    require_error,
)

LEARN = "stable_baselines3.common.base_class.BaseAlgorithm.learn"

#: What SB3's users and their dashboards look for.
KEYS = {
    "time/fps", "time/time_elapsed", "time/total_timesteps", "rollout/ep_rew_mean",
    "rollout/ep_len_mean", "train/learning_rate", "train/n_updates",
}  # fmt: skip


class _Steps(BaseCallback):
    """Notes what it is told; stops the training at a step."""

    def __init__(self, stop_at: float = math.inf) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.events: list[str] = []
        self.seen: set[str] = set()

    def _on_training_start(self) -> None:
        self.events.append("training_start")

    def _on_rollout_start(self) -> None:
        self.events.append("rollout_start")

    def _on_step(self) -> bool:
        self.seen = set(self.locals)
        return self.n_calls < self.stop_at

    def _on_rollout_end(self) -> None:
        self.events.append("rollout_end")

    def _on_training_end(self) -> None:
        self.events.append("training_end")


class _Lines(KVWriter):
    """Keeps every line of the log."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.lines.append(dict(key_values))

    def close(self) -> None:
        pass


@promise(SB3, LEARN)
def learning_counts_steps(case: Case) -> None:
    """
    learn(n) returns the agent after n steps of all environments; whole rollouts count on-policy.

    The counter begins anew with every call unless ``reset_num_timesteps=False``.
    """
    agent = case.make(n_envs=2)
    total = case.total(agent)
    for reset, expected in ((True, total), (False, 2 * total), (True, total)):
        returned = agent.learn(total, reset_num_timesteps=reset)
        require(returned is agent, f"learn() returned {returned!r}", "the agent itself")
        require(
            agent.num_timesteps == expected,
            f"num_timesteps={agent.num_timesteps} after {total} steps, reset_num_timesteps={reset}",
            str(expected),
        )


@promise(SB3, LEARN)
def learning_changes_networks(case: Case) -> None:
    """Learning updates the networks, and leaves every number finite."""
    before, agent = case.make().policy.state_dict(), case.trained
    updates = getattr(agent, "_n_updates", 0)
    steps = f"{agent.num_timesteps} steps; smaller arguments or more steps= may help"
    require(updates > 0, f"_n_updates={updates} after {steps}", "updates")
    after = agent.policy.state_dict()
    require(difference(before, after) != "", f"unchanged parameters after {steps}", "a change")
    bad = [name for name, x in after.items() if not th.isfinite(x.double()).all()]
    require(not bad, f"NaN or infinity in {bad}", "finite numbers")


@promise(SB3, "stable_baselines3.common.callbacks.BaseCallback")
def callbacks_see_every_step(case: Case) -> None:
    """
    Callbacks are called at every step of the VecEnv, and around rollouts and training.

    They see the step's variables under SB3's names.
    """
    steps, agent = _Steps(), case.make(n_envs=2)
    case.learn(agent, callback=steps)
    require(
        2 * steps.n_calls == agent.num_timesteps == steps.num_timesteps,
        f"{steps.n_calls} calls of on_step in {agent.num_timesteps} steps of 2 environments",
        f"{agent.num_timesteps // 2}",
    )
    events = ["training_start", *steps.events[1:-1], "training_end"]
    rollouts = events[1:-1]
    paired = ["rollout_start", "rollout_end"] * (len(rollouts) // 2)
    require(
        steps.events == events and rollouts == paired and bool(rollouts),
        f"the events {steps.events}",
        "start and end of the training, and of every rollout between them",
    )
    missing = {"new_obs", "rewards", "dones", "infos", "actions"} - steps.seen
    require(not missing, f"no local variables {sorted(missing)} at a step", "SB3's names")


@promise(SB3, "stable_baselines3.common.callbacks.BaseCallback.on_step")
def callbacks_stop_training(case: Case) -> None:
    """A callback that returns False ends the training at that very step."""
    agent = case.make()
    case.learn(agent, callback=_Steps(stop_at=3))
    require(
        agent.num_timesteps == 3, f"num_timesteps={agent.num_timesteps}", "3, where it said False"
    )


@promise(SB3, "stable_baselines3, documentation of the logger")
def logs_have_sb3s_keys(case: Case) -> None:
    """The log has SB3's keys, at least one loss, and only finite numbers."""
    lines, agent = _Lines(), case.make()
    agent.set_logger(Logger(folder=None, output_formats=[lines]))
    agent.learn(3 * case.total(agent), log_interval=1)
    written: dict[str, Any] = {}
    for line in lines.lines:
        written |= line
    missing = KEYS - set(written)
    require(not missing, f"no keys {sorted(missing)} in the log", "all of SB3's")
    losses = [key for key in written if key.startswith("train/") and "loss" in key]
    require(bool(losses), f"no loss among {sorted(written)}", "a key such as train/actor_loss")
    numbers = {k: v for k, v in written.items() if isinstance(v, int | float | np.number)}
    bad = {k: v for k, v in numbers.items() if not math.isfinite(v)}
    require(not bad, f"{bad}", "finite numbers")


@promise(SB3, "stable_baselines3, guide on reproducibility")
def a_seed_fixes_the_training(case: Case) -> None:
    """On a CPU two trainings of one seed are equal bit for bit; another seed gives another one."""
    one, two, other = (
        case.learn(case.make(env=case.make_env(2), seed=seed)).get_parameters()
        for seed in (3, 3, 4)
    )
    found = difference(one, two, "parameters")
    require(not found, f"of two trainings with one seed, {found}", "equal ones")
    require(difference(one, other) != "", "equal trainings with seeds 3 and 4", "different ones")


@promise(DREAMZOO, "docs/contract.md")
def evaluating_leaves_training_unchanged(case: Case) -> None:
    """A training with evaluations on the way, of sampled actions, equals one without them."""
    evaluation = EvalCallback(
        case.make_env(), n_eval_episodes=1, eval_freq=5, deterministic=False, verbose=0
    )
    watched = case.learn(case.make(), callback=evaluation).get_parameters()
    found = difference(case.trained.get_parameters(), watched, "parameters")
    require(not found, f"after evaluations {found}", "the same as without them")


class _Spoiled(Wrapper):
    """Rewards with NaN once."""

    steps = 0

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        self.steps += 1
        return obs, math.nan if self.steps == 4 else reward, *rest


@promise(DREAMZOO, "docs/contract.md")
def rewards_of_nan_are_refused(case: Case) -> None:
    """A reward of NaN is a ValueError while learning, and nothing is learned from it."""
    agent = case.make(env=DummyVecEnv([lambda: Monitor(_Spoiled(case.make_single_env()))]))
    require_error(lambda: case.learn(agent), (ValueError,), "a reward of NaN", "reward")
    case.learn(agent, reset_num_timesteps=False)
    bad = [
        name for name, x in agent.policy.state_dict().items() if not th.isfinite(x.double()).all()
    ]
    require(not bad, f"NaN or infinity in {bad} after going on", "finite numbers")
