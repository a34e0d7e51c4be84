"""Weights, rates and lines that all agents' updates share."""

from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.logger import Logger

from dreamzoo import AGENTS, DreamerV1, DreamerV2, PlaNet
from dreamzoo.testing import RandomEnv
from tests.facts import HAS_REPLAY, WITH_MEMORY


class Kept(Logger):
    """Keeps every value that was recorded."""

    def __init__(self) -> None:
        super().__init__(None, [])
        self.seen: dict[str, list[Any]] = {}

    def record(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.setdefault(key, []).append(value)
        super().record(key, value, *args, **kwargs)


def make(kind: Any, **settings: Any) -> Any:
    """Make an agent that makes an update after every step from the twelfth on."""
    common = {"learning_starts": 11, "gradient_steps": 1, "buffer_size": 200, "seed": 0}
    agent = kind("MlpPolicy", RandomEnv(), **{**kind.smallest, **common, **settings})
    agent.set_logger(Kept())
    return agent


def rate_of(agent: Any, name: str) -> float:
    """What an optimizer of the agent works with."""
    return float(agent.policy.optimizers[name].param_groups[0]["lr"])


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_the_weight_of_a_term_that_is_not_there_is_refused(name: str) -> None:
    """A misspelt name weighed nothing, and the term that was meant weighed 1."""
    kind: Any = AGENTS[name]

    class Misspelt(kind):
        def _loss_weights(self) -> dict[str, float]:
            return {**super()._loss_weights(), "rewad": 0.0}

    settings = kind.smallest | ({"buffer_size": 200} if name in HAS_REPLAY else {})
    agent = Misspelt("MlpPolicy", RandomEnv(), **settings)
    said = r"Misspelt\._loss_weights\(\) has weights of rewad, and the terms .*, (recon|policy), "
    with pytest.raises(ValueError, match=said):
        agent.learn(60)


@pytest.mark.parametrize("kind", [DreamerV1, DreamerV2])
@pytest.mark.parametrize("cont", [True, False])
def test_a_term_that_is_switched_off_has_no_weight(kind: type[Any], cont: bool) -> None:
    policy = {**kind.smallest["policy_kwargs"], "cont": cont}
    agent = make(kind, policy_kwargs=policy).learn(15)
    assert ("cont" in agent._loss_weights()) == ("train/cont_loss" in agent.logger.seen) == cont


@pytest.mark.parametrize("distance", [0, 1, 2])
def test_overshooting_has_a_weight_where_it_has_a_term(distance: int) -> None:
    agent = PlaNet(
        "MlpPolicy", RandomEnv(), **{**PlaNet.smallest, "overshooting_distance": distance}
    )
    assert ("overshooting" in agent._loss_weights()) == (distance > 1)


def test_settings_that_move_are_logged_where_they_stand() -> None:
    agent = make(DreamerV2, rho=(0.9, 0.5, 20), ent_coef=0.25).learn(22)
    rho = agent.logger.seen["train/rho"]
    assert rho[0] == pytest.approx(0.9 - 0.4 * 12 / 20)
    assert rho[-1] == rho[-2] == 0.5
    assert "train/ent_coef" not in agent.logger.seen  # stands still, and is known
    agent.rho = 0.3
    agent.learn(1, reset_num_timesteps=False)
    assert len(agent.logger.seen["train/rho"]) == len(rho)


def actor_rate(progress: float) -> float:
    """Fall to zero."""
    return 1e-3 * progress


@pytest.mark.parametrize("kind", [DreamerV1, DreamerV2])
def test_rates_of_actor_and_critic_follow_schedules(kind: type[Any], tmp_path: Path) -> None:
    """As learning_rate does: used, logged, saved, resumed."""
    agent = make(kind, actor_learning_rate=actor_rate, critic_learning_rate=lambda p: 2e-3 * p)
    agent.learn(20)
    seen = agent.logger.seen
    assert seen["train/actor_learning_rate"] == pytest.approx(
        [5e-5 * (20 - n) for n in range(12, 21)]
    )
    assert rate_of(agent, "actor_optimizer") == seen["train/actor_learning_rate"][-1] == 0.0
    assert seen["train/critic_learning_rate"][0] == pytest.approx(8e-4)
    assert seen["train/learning_rate"][0] == agent.learning_rate
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    again = kind.load(tmp_path / "agent", env=RandomEnv(), trusted=True)
    again.load_replay_buffer(tmp_path / "replay", trusted=True)
    for one in (agent, again):
        one.set_logger(Kept())
        one.learn(20, reset_num_timesteps=False)
    for name in ("train/actor_learning_rate", "train/critic_learning_rate"):
        assert again.logger.seen[name] == agent.logger.seen[name]
        assert again.logger.seen[name][0] > 0
    numbers = kind.load(tmp_path / "agent", actor_learning_rate=3e-4, trusted=True)
    assert numbers._own_rates()["actor_optimizer"] == 3e-4


@pytest.mark.parametrize("name", ["actor_learning_rate", "critic_learning_rate"])
@pytest.mark.parametrize("bad", [float("nan"), -1e-3, "fast"])
def test_schedules_that_give_no_rate_are_refused_before_they_are_used(name: str, bad: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"DreamerV1, {name}: the learning rate .* progress 1 must"
    ):
        make(DreamerV1, **{name: lambda _: bad})
    agent = make(DreamerV1, **{name: lambda p: bad if p < 0.2 else 1e-3})
    with pytest.raises(ValueError, match=f"{name}: the learning rate .* Nothing was learned"):
        agent.learn(20)
    setattr(agent, name, "fast")
    with pytest.raises(ValueError, match=f"{name}='fast'"):
        agent.learn(20)
