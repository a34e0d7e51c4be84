"""bsuite's experiments as gymnasium environments: memory_len, memory_size and the others."""

import inspect
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import find_name, requires_extra


def make_bsuite(name: str, *, seed: int | None = None, **settings: Any) -> gym.Env:
    """
    Make an environment of bsuite (Osband et al. 2020, https://arxiv.org/abs/1908.03568).

    Either bsuite's own id, experiment and number of a setting, or the experiment alone with
    settings by name. In ``memory_len``, the memory chain, the sign of the last number of the first
    observation has to be told n steps later, with nothing between them but the time: action 1 for
    a positive one. bsuite shows the first observation twice, so episodes have n + 1 steps; the
    last of them gives 1 or -1, all others 0.

    Example:
        >>> from dreamzoo.envs import make_bsuite
        >>> env = make_bsuite("memory_len", memory_length=50)
        >>> env.observation_space.shape, env.action_space
        ((3,), Discrete(2))
        >>> make_bsuite("memory_len/15").settings  # bsuite's setting number 15
        {'memory_length': 30}

    :param name: such as ``memory_len/15`` or ``memory_len``
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :param settings: of the experiment, by bsuite's names (``memory_length``, ``num_bits``)
    :raises ValueError: for a name or settings that do not exist
    :raises OSError: for ``mnist``, ``mnist_noise`` or ``mnist_scale`` without a network
    """
    with requires_extra("memory"):
        import bsuite.bsuite
        import bsuite.sweep

    makers = bsuite.bsuite.EXPERIMENT_NAME_TO_ENVIRONMENT
    experiment, _, number = name.partition("/")
    experiment = find_name("experiment of bsuite", experiment, makers)
    numbered = [i for i in bsuite.sweep.SETTINGS if i.startswith(f"{experiment}/")]
    if number:
        if f"{experiment}/{number}" not in numbered:
            raise ValueError(
                f"bsuite has no {name}; there is {experiment}/0 to {experiment}/{len(numbered) - 1}"
            )
        settings = {**bsuite.sweep.SETTINGS[f"{experiment}/{number}"], **settings}
    maker = makers[experiment]
    try:
        inspect.signature(maker).bind(**{"seed": None, **settings} if _seeded(maker) else settings)
    except TypeError as error:
        raise ValueError(
            f"{experiment} of bsuite: {error}. It takes {list(inspect.signature(maker).parameters)}"
            f"; its own settings are {experiment}/0 to {experiment}/{len(numbered) - 1}."
        ) from None
    try:
        env = BsuiteEnv(maker, settings)
    except URLError as error:
        raise OSError(
            f"bsuite downloads the digits of {experiment} when it is first made, and could not: "
            f"{error.reason}. Elsewhere, make it and copy /tmp/mnist, the folder it wrote."
        ) from error
    if seed is not None:
        env.reset(seed=seed)
    return env


class BsuiteEnv(gym.Env):
    """
    One environment of bsuite under gymnasium's interface.

    Observations of one row become vectors. The seed of an episode is that of ``reset``, not the
    one that bsuite's settings have; what else they draw (``mapping_seed``) belongs to the task.

    Example:
        >>> from bsuite.environments.catch import Catch
        >>> from dreamzoo.envs.bsuite import BsuiteEnv
        >>> env = BsuiteEnv(Catch, dict(rows=6))
        >>> env.observation_space
        Box(0.0, 1.0, (6, 5), float32)

    :param maker: of the environment, with ``seed`` among its arguments or without
    :param settings: its other arguments
    """

    def __init__(self, maker: Callable[..., Any], settings: dict[str, Any]) -> None:
        if (given := inspect.signature(maker).parameters.get("mapping_seed")) is not None:
            # Without one bsuite draws another task at every seeded reset.
            settings = {"mapping_seed": 0 if given.default is None else given.default, **settings}
        self.maker, self.settings = maker, settings
        self.inner = self._make()
        spec = self.inner.observation_spec()
        self._shape = spec.shape[1:] if spec.shape[0] == 1 else spec.shape
        low, high = (
            np.broadcast_to(getattr(spec, name, default), spec.shape).reshape(self._shape)
            for name, default in (("minimum", -np.inf), ("maximum", np.inf))
        )
        self.observation_space = spaces.Box(
            low.astype(np.float32), high.astype(np.float32), dtype=np.float32
        )
        self.action_space = spaces.Discrete(self.inner.action_spec().num_values)

    def _make(self) -> Any:
        if not _seeded(self.maker):
            inner = self.maker(**self.settings)
            if hasattr(inner, "_rng"):  # deep_sea_stochastic draws, but its maker takes no seed
                inner._rng.seed(self._draw_seed())
            return inner
        return self.maker(**{**self.settings, "seed": self._draw_seed()})

    def _draw_seed(self) -> int:
        return int(self.np_random.integers(2**31))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.inner = self._make()
        return self._observe(self.inner.reset()), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        moment = self.inner.step(int(action))
        is_last = moment.last()
        ended = is_last and moment.discount == 0.0
        return self._observe(moment), float(moment.reward), ended, is_last and not ended, {}

    def _observe(self, moment: Any) -> np.ndarray:
        return np.array(moment.observation, np.float32).reshape(self._shape)


def _seeded(maker: Callable[..., Any]) -> bool:
    return "seed" in inspect.signature(maker).parameters
