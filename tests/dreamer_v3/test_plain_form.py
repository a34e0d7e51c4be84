"""Updates from vectors as they are written for speed, against the equations and autograd alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo import DreamerV3
from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.fast.switch import use

MakeAgent = Callable[..., DreamerV3]

#: A draw between two roundings of a probability changes an update; that rarely may happen.
FLIPS = 1


def _gradients(agent: DreamerV3, batch: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Losses and all gradients of a batch, the same noise every time."""
    assert agent._generator is not None
    state = agent._generator.get_state()
    scale = agent.policy.return_normalizer.state_dict()
    scale = {name: value.clone() for name, value in scale.items()}
    losses = agent.losses(batch).terms
    loss = th.stack(list(agent._weigh(losses).values())).sum()
    gradients = th.autograd.grad(loss, list(agent.policy.trained_parameters()))
    agent._generator.set_state(state)
    agent.policy.return_normalizer.load_state_dict(scale)
    return {k: v.detach() for k, v in losses.items()}, list(gradients)


@pytest.mark.parametrize("updates", [20, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("continuous", [False, True])
def test_many_updates_equal_the_plain_form(
    make_agent: MakeAgent, space_env: Any, continuous: bool, updates: int
) -> None:
    """Losses to 1e-5 and the gradient to 1e-4 of their size, with the parameters of each update."""
    box = spaces.Box(-1, 1, (3,))
    actions = box if continuous else spaces.Discrete(3)
    agent = make_agent(
        lambda: space_env(box, actions, length=7),
        learning_starts=10**6,
        learning_rate=1e-3,
        slow_coef=0.7,  # weights that are all one would hide that they are forgotten
        policy_kwargs=dict(size=replace(SIZES["debug"], bins=255), optimizer_kwargs={"warmup": 0}),
    )
    # Outer bins of 5e8 turn a rounding of their probability into a return: away with them.
    decay = -0.5 * (th.arange(255) - 127).abs()
    for head in (agent.world_model.reward, agent.policy.critic, agent.policy.critic_target):
        head.out.bias.data.copy_(decay)
    agent.learn(100)
    assert agent.replay_buffer is not None
    wrong = []
    update = agent._update

    def compare(batch: Any) -> dict[str, Tensor]:
        losses, gradients = _gradients(agent, batch)
        with use("plain"):
            plain_losses, plain_gradients = _gradients(agent, batch)
        flat, plain = (th.cat([g.flatten() for g in gs]) for gs in (gradients, plain_gradients))
        assert plain.norm() > 0
        same = (flat - plain).norm() / plain.norm() <= 1e-4  # so that NaN is not the same
        for name, loss in losses.items():
            same &= (loss - plain_losses[name]).abs() <= 1e-5 * (1 + plain_losses[name].abs())
        wrong.append(not same)
        return update(batch)

    agent._update = compare  # type: ignore[method-assign]
    before = [p.detach().clone() for p in agent.policy.trained_parameters()]
    agent.train(updates, agent.batch_size)
    after = agent.policy.trained_parameters()
    assert not any(th.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(wrong) == updates
    assert sum(wrong) <= FLIPS
