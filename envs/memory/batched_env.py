"""Small tasks of many rows at once, in torch, on any device."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch as th
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from dreamzoo.envs.vector_resets import first_seed, read_reset_mask
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.fast.graphs import is_far
from dreamzoo.nn.fast.parcels import to_device
from dreamzoo.nn.settings import Whole, read_settings
from dreamzoo.nn.state import where

#: Where all rows stand: a NamedTuple of tensors (N, ...).
S = TypeVar("S")


class BatchedEnv(VectorEnv, Generic[S]):
    """
    N episodes side by side, their states in tensors: the part that tasks have in common.

    A task says how episodes begin, what follows from actions and what is seen; no step loops over
    rows or copies anything to the host.

    :param num_envs: episodes N
    :param observation_space: of one row
    :param action_space: of one row, Discrete
    :param device: where states, observations and rewards are
    :param autoreset_mode: ``SAME_STEP`` or ``DISABLED``
    :raises ValueError: for another mode
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    #: Names of reset options that the task itself reads.
    reset_options: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        device: th.device | str,
        autoreset_mode: AutoresetMode,
    ) -> None:
        read_settings(type(self).__name__, {"num_envs": Whole(1)}, locals())
        if autoreset_mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
            raise ValueError(f"{autoreset_mode=} must be AutoresetMode.SAME_STEP or DISABLED.")
        self.num_envs, self.device = num_envs, th.device(device)
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.same_step = autoreset_mode == AutoresetMode.SAME_STEP
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._codec = ActionCodec(action_space)
        self._generator = th.Generator(device=self.device)
        self._now: S | None = None

    @abstractmethod
    def _begin(self, options: Mapping[str, Any]) -> S:
        """
        Begin N episodes.

        :param options: those of ``reset`` that the task reads; none if a row resets by itself
        """

    @abstractmethod
    def _follow(self, state: S, actions: Tensor) -> tuple[S, Tensor, Tensor]:
        """
        Return what follows: the next state, rewards (N,) float32, and which ended (N,) bool.

        :param state: nothing of it is overwritten
        :param actions: (N,), int64
        """

    @abstractmethod
    def _observe(self, state: S) -> Tensor:
        """Return what is seen, (N, ...)."""

    @property
    def state(self) -> S:
        """Where all rows stand."""
        if self._now is None:
            raise ResetNeeded("Call reset() before the first step.")
        return self._now

    @th.inference_mode(False)  # what is kept must be of use outside of it
    @th.no_grad()
    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """
        Begin new episodes.

        :param seed: of everything random; all rows share one stream, so of a list, one for every
            row, the first number counts. None goes on with the stream
        :param options: ``reset_mask``: bool (N,), the rows to reset, default all; what else there
            is says the class
        :return: first observations (N, ...) and info
        :raises ValueError: for options that do not fit
        """
        if isinstance(seed, list):
            seed = first_seed(seed, self.num_envs, "rows")
        super().reset(seed=seed)
        if seed is not None or self._now is None:
            self._generator.manual_seed(int(self.np_random.integers(2**31)))
        options = {} if options is None else options
        known = {*self.reset_options, "reset_mask"}
        if not isinstance(options, Mapping) or set(options) - known:
            raise ValueError(f"{options=}; expected a dict of {' or '.join(sorted(known))}.")
        mask = read_reset_mask(
            options.get("reset_mask"),
            self.num_envs,
            "rows",
            self.device,
            has_begun=self._now is not None,
        )
        fresh = self._begin(options)
        self._now = fresh if mask is None else where(mask, fresh, self.state)
        return self._observe(self._now), {}

    @th.inference_mode(False)
    @th.no_grad()
    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """
        Make one step in every row.

        :param actions: (N,), torch, numpy or a list
        :return: observations (N, ...), rewards (N,), terminated and truncated (N,) bool, and info:
            where episodes ended, ``final_obs`` has their last observations
        :raises ResetNeeded: before the first reset
        :raises ValueError: for actions of a wrong shape or, where it can be seen without waiting
            for the device, a wrong value
        """
        after, reward, terminated = self._follow(self.state, self._read(actions))
        obs, info = self._observe(after), {}
        # A look at the flags costs nothing on a CPU; elsewhere it would wait for the device.
        if self.same_step and (is_far(self.device) or bool(terminated.any())):
            info = {"final_obs": obs, "_final_obs": terminated}
            after = where(terminated, self._begin({}), after)
            obs = self._observe(after)
        self._now = after
        return obs, reward, terminated, th.zeros_like(terminated), info

    def _read(self, actions: Any) -> Tensor:
        given = self._codec.as_array(actions)
        if tuple(given.shape) != (self.num_envs,):
            raise ValueError(
                f"actions have the shape {tuple(given.shape)}; expected ({self.num_envs},): one "
                f"of {self.single_action_space} for each row."
            )
        read = self._codec.from_env(given)[..., 0]
        return read.to(self.device) if isinstance(read, Tensor) else to_device(read, self.device)
