"""Agents with random numbers of their own, which nothing outside of training draws from."""

from typing import Any

import torch as th

from dreamzoo.common.checked_algorithm import CheckedAlgorithm
from dreamzoo.common.exact_resume import ExactResume


class OwnRandomness(ExactResume, CheckedAlgorithm):
    """
    Algorithm that draws from a source of its own, so that evaluating it changes no training.

    The source is seeded from the global ones, saved with the training, and restored on a device of
    the same kind; states of others do not fit.

    :param args: of SB3's algorithm
    :param kwargs: of SB3's algorithm
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._generator: th.Generator | None = None
        super().__init__(*args, **kwargs)

    def _make_generator(self) -> None:
        self._generator = th.Generator(device=self.device)
        self._seed_generator()

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed everything random, as SB3 does, and the agent's own source.

        :param seed: None leaves everything as it is
        """
        super().set_random_seed(seed)
        if seed is not None and self._generator is not None:
            self._seed_generator()

    def _seed_generator(self) -> None:
        assert self._generator is not None
        self._generator.manual_seed(int(th.randint(2**31, ())))

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_generator"]

    def _training_state(self) -> dict[str, Any]:
        assert self._generator is not None
        own = {"device": self._generator.device.type, "generator": self._generator.get_state()}
        return super()._training_state() | own

    def _check_training_state(self, state: dict[str, Any]) -> None:
        super()._check_training_state(state)
        if not {"device", "generator"} <= state.keys():
            raise ValueError("it is of another agent, which has no random numbers of its own")
        assert self._generator is not None
        if state["device"] == self._generator.device.type:
            th.Generator(device=self._generator.device).set_state(state["generator"])

    def _restore_training(self, state: dict[str, Any], copies: dict[str, Any] | None) -> None:
        assert self._generator is not None
        if state["device"] == self._generator.device.type:
            self._generator.set_state(state["generator"])
        super()._restore_training(state, copies)
