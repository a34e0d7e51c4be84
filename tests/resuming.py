"""What must not depend on whether a training was interrupted."""

from typing import Any

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm


class Returns(BaseCallback):
    """Note step and return of every episode."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.returns.append((self.num_timesteps, info["episode"]["r"]))
        return True


def everything(agent: WorldModelAlgorithm) -> dict[str, Any]:
    """Collect what must not depend on the interruption."""
    assert agent.replay_buffer is not None
    assert agent._generator is not None
    return {
        "policy": agent.policy.state_dict(),
        "optimizer": agent.policy.optimizer.state_dict(),
        "replay": {k: th.as_tensor(v) for k, v in agent.replay_buffer._arrays.items()},
        "latents": {k: th.as_tensor(v) for k, v in agent.replay_buffer.latents.items()},
        "counts": agent.replay_buffer._count.tolist(),
        "updates": agent._n_updates,
        "steps": agent.num_timesteps,
        "generator": agent._generator.get_state(),
        "last_obs": th.as_tensor(agent._last_obs),
    }


def assert_equal(one: Any, other: Any, path: str = "") -> None:
    """Compare two answers of :func:`everything` bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{path}[{i}]")
    elif isinstance(one, th.Tensor):
        assert th.equal(one, other), path
    else:
        assert one == other, path
