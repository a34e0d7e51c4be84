"""Actions that last."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)
from gymnasium.vector.utils import iterate

from dreamzoo.wrappers.arrays import (
    Array,
    Tree,
    cast,
    copy,
    copy_tree,
    first_array,
    known_empty,
    namespace,
    select,
)
from dreamzoo.wrappers.vector.autoreset import autoreset_mode, merge_infos


class RepeatAction(VectorWrapper, gym.utils.RecordConstructorArgs):
    """
    Repeat every action and add up the rewards; a row stops where its episode ends.

    The vector version of :class:`dreamzoo.wrappers.RepeatAction`. All rows of a vector
    environment step together, so a row that has ended is stepped on until the last repeat, and
    what it answers is thrown away. That is right only where no reset has happened yet. Hence the
    environment must leave resets to this wrapper (``AutoresetMode.DISABLED``), and steps of ended
    rows must be harmless, as they are in environments that compute all rows at once.
    gymnasium's ``SyncVectorEnv`` and ``AsyncVectorEnv`` are refused: their environments take the
    single version, under any mode.

    This wrapper resets rows once, after the last repeat, with the option ``reset_mask``. On a GPU
    the mask may select no row, because to look at it would wait for the device.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.wrappers import RepeatAction  # the single version
        >>> wrappers = [lambda env: RepeatAction(env, 4)]
        >>> envs = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync", wrappers=wrappers)
        >>> _ = envs.reset(seed=0)
        >>> envs.step(envs.action_space.sample())[1]
        array([4., 4.])

    :param env: vector environment to wrap, with autoreset disabled
    :param num_repeats: steps of an action, at most
    :param autoreset_mode: what this wrapper does with ended rows: SAME_STEP resets them, DISABLED
        leaves it to the caller
    :raises TypeError: for a number of repeats that is no integer
    :raises ValueError: for an environment that cannot be repeated correctly, another mode, or
        less than one repeat
    """

    def __init__(
        self,
        env: VectorEnv,
        num_repeats: int,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, num_repeats=num_repeats, autoreset_mode=autoreset_mode
        )
        VectorWrapper.__init__(self, env)
        _check_repeats(num_repeats)
        _check_environment(env)
        if autoreset_mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
            raise ValueError(
                f"RepeatAction was given {autoreset_mode=}. "
                "Expected AutoresetMode.SAME_STEP or AutoresetMode.DISABLED."
            )
        self.num_repeats = num_repeats
        self.metadata = {**env.metadata, "autoreset_mode": autoreset_mode}

    def step(self, actions: Any) -> tuple[Tree, Array, Array, Array, dict[str, Any]]:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        terminations, truncations = cast(terminations, bool), cast(truncations, bool)
        if self.num_repeats > 1:  # a simulator may hand out its own memory
            obs, rewards, infos = copy_tree(obs), copy(rewards), copy_tree(infos)
        for _ in range(self.num_repeats - 1):
            running = ~(terminations | truncations)
            if known_empty(running):
                break
            new_obs, reward, terminated, truncated, new_infos = self.env.step(actions)
            obs = select(running, new_obs, obs)
            rewards = select(running, rewards + reward, rewards)
            terminations = terminations | (running & cast(terminated, bool))
            truncations = truncations | (running & cast(truncated, bool))
            infos = merge_infos(running, new_infos, infos)
        if self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            obs, infos = self._reset_ended(terminations | truncations, obs, infos)
        return obs, rewards, terminations, truncations, infos

    def _reset_ended(
        self, ended: Array, obs: Tree, infos: dict[str, Any]
    ) -> tuple[Tree, dict[str, Any]]:
        if known_empty(ended):
            return obs, infos
        # A copy, since the environment may keep what it is given.
        first_obs, first_infos = self.env.reset(options={"reset_mask": copy(ended)})
        final = {
            "final_obs": self._final_obs(ended, obs),
            "_final_obs": ended,
            "final_info": infos,
            "_final_info": ended,
        }
        return select(ended, first_obs, obs), {**merge_infos(ended, first_infos, infos), **final}

    def _final_obs(self, ended: Array, obs: Tree) -> Tree:
        if namespace(first_array(obs)) is not np:
            return obs
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row, single in enumerate(iterate(self.observation_space, obs)):
            final_obs[row] = single if ended[row] else None
        return final_obs


def _check_repeats(num_repeats: int) -> None:
    if isinstance(num_repeats, bool) or not isinstance(num_repeats, (int, np.integer)):
        raise TypeError(f"{num_repeats=} is no integer. Expected the number of steps, such as 4.")
    if num_repeats < 1:
        raise ValueError(f"{num_repeats=} must be at least 1, which repeats nothing.")


def _check_environment(env: VectorEnv) -> None:
    mode = autoreset_mode(env)
    if mode is AutoresetMode.DISABLED and not isinstance(
        env.unwrapped, (SyncVectorEnv, AsyncVectorEnv)
    ):
        return
    raise ValueError(
        f"RepeatAction was given {env} with {mode}. It needs an environment with "
        "AutoresetMode.DISABLED that may step ended rows; gymnasium's SyncVectorEnv and "
        "AsyncVectorEnv may not. Make it with autoreset_mode=AutoresetMode.DISABLED, or wrap "
        "every single environment in dreamzoo.wrappers.RepeatAction before vectorizing."
    )
