"""What must not depend on whether a training was interrupted."""

from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from dreamzoo.common.storage.saves import MODEL, REPLAY, TRAINING
from dreamzoo.nn.state import leaves


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


def has_replay(agent: Any) -> bool:
    """Whether an agent, or a class of agents, stores what it has done."""
    return hasattr(agent, "save_replay_buffer")


def save(agent: Any, folder: Path) -> None:
    """Save an agent and where its training stands, as a :class:`SaveCallback` does."""
    agent.save(folder / MODEL)
    if has_replay(agent):
        agent.save_replay_buffer(folder / REPLAY)
    else:
        agent.save_training_state(folder / TRAINING)


def load(kind: Any, folder: Path, env: Any) -> Any:
    """Load an agent of a class and where its training stood."""
    agent = kind.load(folder, env=env, trusted=True)
    load_state(agent, folder)
    return agent


def load_state(agent: Any, folder: Path) -> None:
    """Load where the training of an agent stood, in the middle of episodes if that is possible."""
    agent.resume(folder, trusted=True)


def everything(agent: Any) -> dict[str, Any]:
    """Collect what must not depend on the interruption."""
    assert agent._generator is not None
    found = {
        "policy": agent.policy.state_dict(),
        "optimizers": {name: x.state_dict() for name, x in agent.policy.optimizers.items()},
        "updates": agent._n_updates,
        "steps": agent.num_timesteps,
        "generator": agent._generator.get_state(),
        "last_obs": th.as_tensor(agent._last_obs),
        "memory": leaves(agent._last_state),
    }
    if has_replay(agent):
        found |= {
            "replay": {k: th.as_tensor(v) for k, v in agent.replay_buffer._arrays.items()},
            "latents": {k: th.as_tensor(v) for k, v in agent.replay_buffer.latents.items()},
            "counts": agent.replay_buffer._count.tolist(),
        }
    return found


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
