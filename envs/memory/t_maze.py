"""The passive T-maze: a cue at the beginning decides where to turn at the end."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from torch import Tensor

from dreamzoo.envs.memory.batched_env import BatchedEnv
from dreamzoo.envs.memory.single_env import SingleEnv
from dreamzoo.nn.checks import to_host
from dreamzoo.nn.settings import Whole, read_settings

#: Actions.
FORWARD, UP, DOWN = range(3)


class TMaze(SingleEnv):
    """
    Walk along a corridor and turn to the side that was shown at its beginning.

    A simplification of the passive T-maze of Ni et al. 2023 (https://arxiv.org/abs/2307.03864),
    which asks for memory alone: for L steps the agent walks on whatever it does, but every action
    other than "forward" (0) costs 1/L (theirs also leaves the agent behind: scores do not compare).
    Then it stands at the junction, and any action ends the episode: "up" (1) for
    the cue 1 and "down" (2) for the cue -1 give 1, all else 0. An episode has L + 1 steps.

    The observation is (cue, at the junction, 1); the cue is 1 or -1 in the first one and 0 later.
    Perfect memory scores 1, the best player without one 0.5.

    Example:
        >>> from dreamzoo.envs import TMaze
        >>> env = TMaze(length=2)
        >>> env.reset(seed=0, options=dict(cue=-1))[0]
        array([-1.,  0.,  1.], dtype=float32)
        >>> [env.step(action)[1] for action in (0, 1, 2)]  # forward, up, down
        [0.0, -0.5, 1.0]

    :param length: steps L to the junction
    :raises ValueError: if it is not a positive number
    """

    reset_options: ClassVar[tuple[str, ...]] = ("cue",)

    def __init__(self, length: int = 10) -> None:
        read_settings(type(self).__name__, {"length": Whole(1)}, locals())
        self.length = length
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.cue, self.place, self._runs = 1, 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """
        Show a cue.

        :param seed: of the cues
        :param options: ``cue``: 1 or -1, to be shown this time
        :raises ValueError: for another cue or option
        """
        given = self._read_options(options).get("cue")
        super().reset(seed=seed)
        if given is None:
            self.cue = int(2 * self.np_random.integers(2) - 1)
        else:
            self.cue = int(_read_cues(given, 1)[0])
        self.place, self._runs = 0, True
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        Walk on, or choose a side at the junction.

        :param action: 0 forward, 1 up, 2 down
        :raises ResetNeeded: before the first reset, and after the end of an episode
        :raises ValueError: for another action
        """
        action = self._read_action(action)
        if self.place == self.length:
            self._runs = False
            right = UP if self.cue == 1 else DOWN
            return self._observe(), float(action == right), True, False, {}
        self.place += 1
        reward = 0.0 if action == FORWARD else -1 / self.length
        return self._observe(), reward, False, False, {}

    def _observe(self) -> np.ndarray:
        cue = self.cue if self.place == 0 else 0
        return np.array([cue, self.place == self.length, 1], np.float32)


class Walk(NamedTuple):
    """
    Where N walks stand.

    :param cue: 1 or -1, (N,)
    :param place: steps from the beginning, (N,)
    """

    cue: Tensor
    place: Tensor


class TMazeVectorEnv(BatchedEnv[Walk]):
    """
    N walks of :class:`TMaze` at once, as tensors on any device.

    Resets are in the same step; with ``AutoresetMode.DISABLED`` call
    ``reset(options={"reset_mask": rows})``. The option ``cue``, 1, -1 or (N,), says what is shown,
    until rows reset.

    Example:
        >>> from dreamzoo.envs import TMazeVectorEnv, VectorEnvToVecEnv
        >>> envs = TMazeVectorEnv(num_envs=256, length=100)
        >>> obs, info = envs.reset(seed=0)
        >>> obs, reward, *_ = envs.step(envs.action_space.sample())
        >>> obs.shape, type(reward)
        (torch.Size([256, 3]), <class 'torch.Tensor'>)
        >>> vec_env = VectorEnvToVecEnv(envs)  # for agents of SB3

    :param num_envs: walks N
    :param length: steps to the junction
    :param device: of the tensors
    :param autoreset_mode: ``SAME_STEP`` or ``DISABLED``
    :raises ValueError: for a length that is not a positive number, or another mode
    """

    reset_options: ClassVar[tuple[str, ...]] = ("cue",)

    def __init__(
        self,
        num_envs: int = 1,
        length: int = 10,
        *,
        device: th.device | str = "cpu",
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    ) -> None:
        read_settings(type(self).__name__, {"length": Whole(1)}, locals())
        self.length = length
        observed, actions = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(3)
        super().__init__(num_envs, observed, actions, device, autoreset_mode)

    def _begin(self, options: Mapping[str, Any]) -> Walk:
        place = th.zeros(self.num_envs, dtype=th.long, device=self.device)
        given = options.get("cue")
        if given is not None:
            cue = th.as_tensor(_read_cues(given, self.num_envs), device=self.device)
            return Walk(cue, place)
        coins = th.randint(2, (self.num_envs,), generator=self._generator, device=self.device)
        return Walk(2 * coins - 1, place)

    def _follow(self, state: Walk, actions: Tensor) -> tuple[Walk, Tensor, Tensor]:
        at_junction = state.place == self.length
        right = th.where(state.cue == 1, UP, DOWN)
        cost = (actions != FORWARD).float() / self.length
        reward = th.where(at_junction, (actions == right).float(), -cost)
        return Walk(state.cue, (state.place + 1).clamp(max=self.length)), reward, at_junction

    def _observe(self, state: Walk) -> Tensor:
        cue = state.cue * (state.place == 0)
        seen = [cue, state.place == self.length, th.ones_like(cue)]
        return th.stack(seen, dim=1).float()


def _read_cues(given: Any, rows: int) -> np.ndarray:
    """Check cues, one for all walks or one for each."""
    cues = to_host(given, "cue", "1 or -1")
    if cues.shape not in ((), (1,), (rows,)) or not np.isin(cues, (-1, 1)).all():
        each = f", for all walks or for each of {rows}" if rows > 1 else ""
        raise ValueError(f"cue={given}; expected 1 or -1{each}.")
    return np.broadcast_to(cues, (rows,)).astype(np.int64)
