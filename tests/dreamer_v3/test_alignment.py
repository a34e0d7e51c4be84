"""Checklist D6: a world model learns what an action does, and only if it is aligned."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th

from dreamzoo import DreamerV3
from dreamzoo.dreamer_v3 import Size
from dreamzoo.nn import Latent
from tests.dreamer_v3.losses import model_loss

MakeAgent = Callable[..., DreamerV3]
SMALL = Size(
    units=16, deter=16, classes=4, cnn_depth=2, stoch=4, blocks=4, observation_layers=1,
    head_layers=1, bins=15,
)  # fmt: skip


def _errors(agent: DreamerV3, updates: int, shift: int = 0) -> tuple[float, float]:
    """
    Train the world model on random actions that are echoed as the next observation.

    :param agent: has collected
    :param updates: of the world model only
    :param shift: how far to move the actions in time
    :return: mean error of what the prior predicts for the actions, and for the other actions
    """
    assert agent.replay_buffer is not None
    policy, model = agent.policy, agent.policy.world_model

    def draw(rows: int) -> Any:
        batch = agent.replay_buffer.sample(rows, online=False)  # type: ignore[union-attr]
        return batch._replace(actions=batch.actions.roll(shift, 1)) if shift else batch

    for _ in range(updates):
        losses = model_loss(agent, draw(8)).terms
        policy.optimizer.zero_grad()
        th.stack(list(losses.values())).sum().backward()
        policy.optimizer.step()
    batch = draw(64)
    with th.no_grad():
        filtered = agent.observe_batch(batch)
        before = Latent(*(part[:, :-1].flatten(0, 1) for part in filtered.latent))
        inside = ~batch.is_first[:, 1:].flatten()
        truth = batch.observations[:, 1:].flatten()
        errors = []
        for actions in (batch.actions, 1 - batch.actions):
            encoded = policy.action_codec.encode(actions[:, 1:].flatten(0, 1))
            guess = model.decode(model.imagine_step(before, encoded, mode=True))
            assert isinstance(guess, th.Tensor)
            errors.append(float((guess[:, 0] - truth)[inside].abs().mean()))
    return errors[0], errors[1]


@pytest.fixture
def echo(make_agent: MakeAgent, echo_env: Any) -> DreamerV3:
    kwargs = {"size": SMALL, "optimizer_kwargs": {"warmup": 0}}
    agent = make_agent(
        echo_env, learning_rate=6e-3, policy_kwargs=kwargs, learning_starts=10**6, free_nats=0.1
    )
    return agent.learn(300)


def test_the_prior_predicts_the_effect_of_the_action(echo: DreamerV3) -> None:
    right, wrong = _errors(echo, 120)
    assert right < 0.2
    assert wrong > 1.5


@pytest.mark.parametrize("shift", [1, -1])
def test_pitfall_01_actions_one_step_off_teach_nothing(echo: DreamerV3, shift: int) -> None:
    """
    The losses may even fall (an action fed too early is remembered), but imagined actions then
    have no effect, so there is nothing for a policy to learn.
    """
    right, wrong = _errors(echo, 120, shift)
    assert abs(right - wrong) < 0.5


def test_random_actions_are_echoed(echo: DreamerV3) -> None:
    assert echo.replay_buffer is not None
    batch = echo.replay_buffer.sample(64)
    inside = ~batch.is_first
    echoed = 2.0 * batch.actions[..., 0] - 1.0
    assert th.equal(batch.observations[..., 0][inside], echoed[inside])  # type: ignore[index]
    assert 0.4 < float(np.mean(batch.actions.numpy())) < 0.6
