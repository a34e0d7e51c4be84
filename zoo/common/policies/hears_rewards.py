"""Policies that observe what the last action has earned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.nn.checks import FLOAT32, InputError
from dreamzoo.nn.state import State, leaf_names, leaves, rebuild

#: Keys that :class:`dreamzoo.wrappers.VecPreviousActionReward` adds to an observation, and the one
#: that an observation without keys gets.
ACTION, REWARD, ALONE = "previous_action", "previous_reward", "obs"


class HearsRewards(RecurrentPolicy):
    """
    Policy whose memory has two parts for the last reward, ``reward`` and ``told``, (n,) each.

    Whoever steps an environment says with :meth:`told` what was earned; ``learn`` does. SB3 gives
    ``predict`` observations alone. If these are of an environment within
    :class:`dreamzoo.wrappers.PreviousActionReward` or its vector forms, the reward is heard from
    them; the action is remembered anyhow. :func:`dreamzoo.analysis.evaluation.tell_rewards`
    tells them during SB3's ``evaluate_policy``.
    """

    def told(self, state: State, reward: Tensor) -> State:
        """
        Remember what the last action has earned.

        :param state: memory after that step, (n, ...)
        :param reward: (n,)
        """
        heard = {"reward": reward, "told": th.ones_like(reward)}
        parts = zip(leaf_names(state), leaves(state), strict=True)
        return rebuild(state, [heard.get(name, part) for name, part in parts])

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        **manner: Any,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        if isinstance(observation, Mapping) and self._has_heard(observation):
            rest = {k: x for k, x in observation.items() if k not in (ACTION, REWARD)}
            reward = np.asarray(observation[REWARD], np.float32).reshape(-1, 1)
            FLOAT32.check(reward, REWARD)
            observation = rest if self.observation_codec.is_dict else rest.get(ALONE, rest)
            state = self._with_reward(state, reward)
        action, after = super().predict(observation, state, episode_start, deterministic, **manner)
        if after is not None:  # where rewards are written into it, nothing else may change
            heard = zip(self.memory.names, after, strict=True)
            after = tuple(x.copy() if name in ("reward", "told") else x for name, x in heard)
        return action, after

    def _has_heard(self, observation: Mapping[str, Any]) -> bool:
        known = {key.name for key in self.observation_codec.keys}
        return {ACTION, REWARD} <= observation.keys() and REWARD not in known

    def _with_reward(
        self, state: tuple[np.ndarray, ...] | None, reward: np.ndarray
    ) -> tuple[np.ndarray, ...] | None:
        if not isinstance(state, (tuple, list)) or len(state) != len(self.memory.names):
            return state  # a new episode; or what predict() refuses
        if np.shape(state[0])[:1] != reward.shape[:1]:
            raise InputError(f"{REWARD} of {len(reward)} rows", "expected as many as the state has")
        heard = {"reward": reward, "told": np.ones_like(reward)}
        return tuple(heard.get(name, x) for name, x in zip(self.memory.names, state, strict=True))
