"""What tasks of one episode at a time have in common: they refuse what would mean nothing."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
from gymnasium import spaces
from gymnasium.error import ResetNeeded


class SingleEnv(gym.Env):
    """A task with choices; the batched ones are :class:`~dreamzoo.envs.memory.BatchedEnv`."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]
    #: Names of reset options.
    reset_options: ClassVar[tuple[str, ...]] = ()
    action_space: spaces.Discrete
    #: Whether there is an episode that has not ended; True in copies of earlier versions.
    _runs = True

    def _read_options(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """
        Check the options of a reset.

        :raises ValueError: for others than there are
        """
        unknown = sorted({*(options or {})} - {*self.reset_options})
        if unknown:
            known = ", ".join(self.reset_options)
            raise ValueError(f"No reset option is called {unknown[0]!r}; there is: {known}.")
        return dict(options or {})

    def _read_action(self, action: Any) -> int:
        """
        Check the action of a step.

        :raises ResetNeeded: before the first reset, and after the end of an episode
        :raises ValueError: for what is no action
        """
        if not self._runs:
            raise ResetNeeded("No episode runs: call reset() first.")
        if not self.action_space.contains(action):
            raise ValueError(
                f"{type(self).__name__}.step({action!r}): expected a whole number from 0 to "
                f"{self.action_space.n - 1}."
            )
        return int(action)
