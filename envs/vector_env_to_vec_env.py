"""Any gymnasium ``VectorEnv``, numpy or torch, as a ``VecEnv`` of Stable-Baselines3."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from dreamzoo.envs import vector_env_rows
from dreamzoo.nn import checks


class VectorEnvToVecEnv(VecEnv):
    """
    Let agents of Stable-Baselines3 train in a gymnasium ``VectorEnv``.

    For simulators that step many environments at once (Atari's vector environment, those on a
    GPU, dreams), whose speed a ``DummyVecEnv`` of single ones would lose. Wrap it in
    ``VecMonitor`` for episode statistics. Attributes and methods of single rows:
    :mod:`dreamzoo.envs.vector_env_rows`. Flags may be of any number type, flags and rewards of
    the shape (N, 1), too. Where an episode ends the information on its last step is in the
    ``infos``, that on the reset in ``reset_infos``, as in a ``DummyVecEnv``.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.envs import VectorEnvToVecEnv
        >>> from gymnasium.vector import AutoresetMode
        >>> settings = dict(autoreset_mode=AutoresetMode.SAME_STEP)
        >>> envs = gym.make_vec("CartPole-v1", 3, vectorization_mode="sync", vector_kwargs=settings)
        >>> vec_env = VectorEnvToVecEnv(envs)  # for PPO("MlpPolicy", vec_env)
        >>> vec_env.reset().shape
        (3, 4)

    :param env: resets in the same step (``AutoresetMode.SAME_STEP``), or not at all
        (``DISABLED``) and by ``reset_mask`` then
    :raises ValueError: if it resets in the next step: what a real step would be there is not one
        for SB3; make it with ``autoreset_mode=AutoresetMode.SAME_STEP``
    """

    def __init__(self, env: VectorEnv) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
            raise ValueError(
                f"{env} has autoreset_mode={mode}. Stable-Baselines3 expects the first observation "
                "of the next episode together with the end of the last: make the environment with "
                "autoreset_mode=AutoresetMode.SAME_STEP (gymnasium.make_vec: "
                "vector_kwargs=dict(autoreset_mode=...), Atari's own: autoreset_mode=...)."
            )
        self.env = env
        self._same_step = mode == AutoresetMode.SAME_STEP
        self._statistics = _statistics(env)
        self._actions: Any = None
        # Wrappers of SB3 write to the spaces of what they wrap, and agents seed them.
        own = deepcopy((env.single_observation_space, env.single_action_space))
        super().__init__(env.num_envs, *own)
        self.metadata = dict(env.metadata)

    def _get_render_mode(self) -> str | None:
        return self.env.render_mode

    def reset(self) -> np.ndarray | dict[str, np.ndarray]:
        # From one seed a VectorEnv derives those of all rows, as SB3's seed() does.
        try:
            options = self._join_options(self._options) or None
            obs, info = self.env.reset(seed=self._seeds[0], options=options)
        finally:
            self._reset_options()  # refused, they must not spoil the next reset as well
        self._reset_seeds()
        self.reset_infos = self._row_infos(info)
        return to_host(obs)

    def step_async(self, actions: np.ndarray) -> None:
        # Of a list of arrays torch would make a tensor number by number, with a warning.
        if isinstance(actions, list):
            actions = checks.to_host(actions, "list of actions", self.action_space)
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        # Copies: the environment may reuse its memory, in a reset already.
        ended = checks.to_flags(terminated, self.num_envs, "terminations")
        limit = checks.to_flags(truncated, self.num_envs, "truncations")
        rewards = checks.to_rewards(reward, self.num_envs)
        dones = ended | limit
        last, last_info = info.pop("final_obs", None), info.pop("final_info", None)
        given = info.pop("_final_obs", dones) if self._same_step else dones
        told = info.pop("_final_info", dones)
        infos = self._row_infos(info)
        if dones.any():
            if self._same_step:
                self._check_last(last, dones, checks.to_flags(given, self.num_envs, "_final_obs"))
            # The last observation before the reset, which may write to the same memory.
            last = to_host(last if self._same_step else obs)
            if self._same_step:
                self._part_infos(info, infos, dones, last_info, told)
            else:
                obs, begun = self.env.reset(options={"reset_mask": dones.copy()})
                begins = self._row_infos(begun)
                for i in np.flatnonzero(dones):
                    self.reset_infos[i] = begins[i]
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = (
                    {name: part[i] for name, part in last.items()}
                    if isinstance(last, dict)
                    else last[i]
                )
                infos[i]["TimeLimit.truncated"] = bool(limit[i] and not ended[i])
        return to_host(obs), rewards, dones, infos

    def _part_infos(
        self,
        info: dict[str, Any],
        infos: list[dict[str, Any]],
        dones: np.ndarray,
        last_info: dict[str, Any] | None,
        told: Any,
    ) -> None:
        """
        Leave in the infos of rows that ended what belongs to the end, not to the reset.

        :param info: of the step, by name
        :param infos: the same by row, of which those that ended are changed
        :param dones: which these are, (N,)
        :param last_info: of ends alone; None: the environment does not tell ends from resets
        :param told: rows of which there is one, (N,)
        """
        told = dones & (last_info is not None) & checks.to_flags(told, self.num_envs, "_final_info")
        ends = self._row_infos(last_info or {})
        # What is of some rows only is of the next episode; statistics are of the one that ended.
        rest = {name for name in info if f"_{name}" not in info} | self._statistics
        for i in np.flatnonzero(dones):
            begin = {name: x for name, x in infos[i].items() if name not in self._statistics}
            self.reset_infos[i] = begin
            if told[i]:
                infos[i] = {name: x for name, x in infos[i].items() if name in rest} | ends[i]

    def _check_last(self, last: Any, dones: np.ndarray, given: np.ndarray) -> None:
        """Refuse ends of episodes without their last observations."""
        missing = dones if last is None else dones & ~given
        if isinstance(last, np.ndarray) and last.dtype == object:
            missing = missing | (dones & [single is None for single in last])
        if missing.any():
            raise ValueError(
                f"Episodes of the rows {np.flatnonzero(missing).tolist()} ended, and {self.env} "
                "gave no last observations of them in info['final_obs'], as "
                "AutoresetMode.SAME_STEP promises; those returned are already of the next "
                "episodes. Let it put the last ones there, or make it with "
                "AutoresetMode.DISABLED and let reset(options={'reset_mask': rows}) reset."
            )

    def _row_infos(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        """Turn one dictionary of arrays into one dictionary for every row that has its keys."""
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name, value in info.items():
            if name.startswith("_") and name[1:] in info:
                continue
            mask = info.get(f"_{name}")
            has = np.ones(self.num_envs, bool) if mask is None else to_host(mask)
            parts = self._row_infos(value) if isinstance(value, dict) else to_host(value)
            several = isinstance(parts, list | tuple) or getattr(parts, "ndim", 0) > 0
            if not several or len(parts) != self.num_envs:
                parts = [parts] * self.num_envs  # one for all of them
            for i in np.flatnonzero(has):
                rows[i][name] = parts[i]
        return rows

    def close(self) -> None:
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)  # type: ignore[arg-type]

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """
        Set what the next reset is told.

        :param options: one dictionary for all rows, or one for each
        :raises ValueError: if those of the rows differ, and the environment cannot be told so
        """
        rows = [options] if isinstance(options, dict) else options or []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(
                f"set_options({options!r}): expected one dictionary, or a list of one for each of "
                f"the {self.num_envs} environments."
            )
        before = self._options
        super().set_options(options)
        try:
            self._join_options(self._options)
        except ValueError:
            self._options = before
            raise

    def _join_options(self, options: list[dict[str, Any]]) -> dict[str, Any]:
        """Turn the options of all rows into those of the batch."""
        if len(options) != self.num_envs or not all(
            data_equivalence(to_host(row), to_host(options[0]), exact=True) for row in options
        ):
            raise ValueError(
                f"set_options({options}): expected one dictionary, or the same for each of the "
                f"{self.num_envs} environments: they are one batch and are reset together."
            )
        return options[0]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        values = vector_env_rows.get_attr(self.env, attr_name)
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        rows = list(self._get_indices(indices))
        vector_env_rows.set_attr(self.env, attr_name, value, rows)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        rows = list(self._get_indices(indices))
        return vector_env_rows.call(self.env, method_name, args, kwargs, rows)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        inner, rows = self.env.unwrapped, list(self._get_indices(indices))
        if isinstance(inner, SyncVectorEnv):
            return [is_wrapped(inner.envs[i], wrapper_class) for i in rows]
        return [False for _ in rows]  # they are no environments, or in other processes


def _statistics(env: VectorEnv) -> set[str]:
    """List what wrappers tell of episodes that have ended, beside what the environment tells."""
    found = {"episode"}
    while isinstance(env, VectorWrapper):
        if isinstance(env, RecordEpisodeStatistics):
            found.add(env._stats_key)
        env = env.env
    return found


def to_host(value: Any) -> Any:
    """
    Copy tensors and arrays to the host, as arrays of their own; leave everything else as it is.

    Those in dictionaries, lists and tuples are copied, too. A simulator may hand out its own
    memory, and change it in the next step.
    """
    if isinstance(value, dict):
        return {name: to_host(part) for name, part in value.items()}
    if isinstance(value, th.Tensor):
        return value.detach().to("cpu", copy=True).numpy()
    if isinstance(value, list | tuple):
        parts = [to_host(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if not isinstance(value, np.ndarray):
        return value
    copied = value.copy()
    if value.dtype == object:  # gymnasium's way to hold something of some rows
        for index, part in np.ndenumerate(value):
            copied[index] = to_host(part)
    return copied
