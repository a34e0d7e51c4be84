"""Wall time by part."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch as th

from dreamzoo import DreamerV3
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm


class Clock:
    """
    Wall time by part; what a part calls counts for the called part only.

    :param device: where the parts run; a part ends when the device has finished it
    """

    def __init__(self, device: th.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def now(self) -> float:
        """Read the time when the device has finished what it was given, in seconds."""
        if self.device.type == "cuda":
            th.cuda.synchronize(self.device)
        return time.perf_counter()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count the calls of a method as a part."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = self.now()
            result = function(*args, **kwargs)
            spent = self.now() - start
            self.seconds[part] += spent - self._inner.pop()
            if self._inner:
                self._inner[-1] += spent
            return result

        setattr(owner, name, timed)


def break_down(model: WorldModelAlgorithm, repeat: int) -> dict[str, float]:
    """
    Time the parts of an update.

    :param model: warm
    :param repeat: updates
    :return: seconds of one update by part; DreamerV3 tells what it computes before the backward
        pass in more parts than the others do
    """
    clock, world_model = Clock(model.device), model.policy.world_model
    assert model.replay_buffer is not None
    clock.wrap(model, "train", "other")
    clock.wrap(model.replay_buffer, "sample", "replay")
    clock.wrap(world_model, "observe_sequence", "filtering")
    clock.wrap(world_model.dynamics, "imagine", "imagination")
    clock.wrap(th.Tensor, "backward", "backward")
    if isinstance(model, DreamerV3):
        clock.wrap(model.replay_buffer, "write_latents", "replay")
        clock.wrap(model, "_model_losses", "decoding and heads")
        for part in ("_dream", "_replay_losses", "_imagination_losses"):
            clock.wrap(model, part, "actor and critic")
        clock.wrap(model.policy.optimizer, "apply", "optimizer")
    else:
        clock.wrap(model, "losses", "decoding, heads and losses")
        for optimizer in model.policy.optimizers.values():
            clock.wrap(optimizer, "step", "optimizer")
    for _ in range(repeat):
        model.train(1)
    return {part: round(seconds / repeat, 4) for part, seconds in clock.seconds.items()}
