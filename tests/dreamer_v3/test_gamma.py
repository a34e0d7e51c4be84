"""Another gamma than the continue head was trained with: dreams must go on ending as they did."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th

from dreamzoo import DreamerV3

MakeAgent = Callable[..., DreamerV3]


def _predict_everywhere(agent: DreamerV3, discount: float) -> None:
    """Make the continue head one that has learned a discount, in an environment without an end."""
    out: Any = agent.world_model.cont.out
    out.weight.data.zero_()
    out.bias.data.fill_(float(np.log(discount / (1 - discount))))


def _ends(agent: DreamerV3) -> int:
    """Count the dreams of 64 that end within 20 steps."""
    envs = agent.dream_env(64, horizon=None)
    envs.seed(0)
    envs.reset()
    ended = np.zeros(64, bool)
    for _ in range(20):
        ended |= envs.step(np.zeros(64, int))[2]
    return int(ended.sum())


@pytest.fixture
def agent(collected: MakeAgent) -> DreamerV3:
    agent = collected(gamma=0.99, learning_rate=0.0)
    _predict_everywhere(agent, 0.99)
    return agent


def test_a_gamma_that_never_changed_stays_exactly_what_it_was(collected: MakeAgent) -> None:
    agent = collected(gamma=0.99)
    agent.train(5, agent.batch_size)
    assert th.equal(agent.world_model.learned_gamma, th.tensor(0.99))


@pytest.mark.parametrize("gamma", [0.8, 0.999])
def test_dreams_end_as_often_whatever_gamma_is_set(agent: DreamerV3, gamma: float) -> None:
    assert _ends(agent) == 0
    agent.gamma = gamma
    agent.train(1, agent.batch_size)  # nothing was learned yet
    assert agent.gamma == gamma
    assert agent.world_model.gamma == pytest.approx(0.99)
    assert _ends(agent) == 0
    halfway = (0.99 + gamma) / 2
    for reached in (halfway, gamma):
        _predict_everywhere(agent, reached)
        agent.train(1, agent.batch_size)
        assert agent.world_model.gamma == pytest.approx(reached)
        assert _ends(agent) == 0
    _predict_everywhere(agent, gamma / 2)
    assert _ends(agent) == 64  # what is predicted still counts


def test_loading_with_another_gamma(agent: DreamerV3, tmp_path: pathlib.Path) -> None:
    """Through two files, the second one saved on the way to the new gamma, and a resumed run."""
    agent.save(tmp_path / "first")
    loaded = DreamerV3.load(tmp_path / "first", gamma=0.8, env=agent.env)
    assert loaded.gamma == 0.8
    assert loaded.world_model.gamma == pytest.approx(0.99)
    assert _ends(loaded) == 0
    agent.save_replay_buffer(tmp_path / "replay")
    loaded.load_replay_buffer(tmp_path / "replay")
    loaded.set_logger(agent.logger)
    _predict_everywhere(loaded, 0.9)
    loaded.train(1, loaded.batch_size)
    assert loaded.world_model.gamma == pytest.approx(0.9)
    loaded.save(tmp_path / "second")
    resumed = DreamerV3.load(tmp_path / "second")
    assert resumed.gamma == 0.8
    assert resumed.world_model.gamma == pytest.approx(0.9)
    assert _ends(resumed) == 0


def test_the_continue_head_follows_a_change_and_gamma_with_it(collected: MakeAgent) -> None:
    """A short training, the head alone: the quantile really is what it has learned."""
    agent = collected(
        gamma=0.99, learning_rate=1e-2, policy_kwargs={"optimizer_kwargs": {"warmup": 0}}
    )
    agent.train(20, agent.batch_size)
    agent.gamma = 0.5
    seen = []
    for _ in range(30):
        agent.train(1, agent.batch_size)
        seen.append(agent.world_model.gamma)
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) > 3
    assert seen[-1] == pytest.approx(0.5)
