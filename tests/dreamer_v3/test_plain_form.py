"""Updates from vectors as they are written for speed, against torch and autograd alone."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo import DreamerV3
from dreamzoo.nn import distributions
from dreamzoo.nn.beliefs import Belief, Categorical
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.tapes import StackTape
from dreamzoo.nn.networks.layers import MLP
from dreamzoo.nn.presets import SIZES
from dreamzoo.nn.rssm.block import BlockGRU, BlockRSSM
from dreamzoo.nn.rssm.dynamics import Latent

MakeAgent = Callable[..., DreamerV3]

UPDATES = 100
#: A draw between two roundings of a probability changes an update; that rarely may happen.
FLIPS = 1


def _core(core: BlockGRU, latent: Latent, action: Tensor) -> Tensor:
    """Advance the deterministic state by the modules as they stand."""
    blocks = latent.deter.unflatten(-1, (core.blocks, -1))
    embedded = [core.deter_in(latent.deter), core.stoch_in(latent.stoch.flatten(1))]
    shared = th.cat([*embedded, core.embed_action(action)], dim=-1)
    inputs = th.cat([blocks, shared[:, None].expand(-1, core.blocks, -1)], dim=-1)
    hidden = core.hidden_norm(core.hidden(inputs.flatten(1)))
    reset, candidate, update = core.gates(hidden).unflatten(-1, (core.blocks, 3, -1)).unbind(2)
    candidate, update = th.tanh(th.sigmoid(reset) * candidate), th.sigmoid(update - 1)
    return (update * candidate + (1 - update) * blocks).flatten(1)


def _mixed(rssm: BlockRSSM, logits: Tensor) -> Tensor:
    probs = logits.unflatten(-1, (rssm.stoch, rssm.classes)).softmax(-1)
    return (1 - rssm.unimix) * probs + rssm.unimix / rssm.classes


def _observe(
    rssm: BlockRSSM,
    latent: Latent,
    prev_actions: Tensor,
    tokens: Tensor,
    is_first: Tensor,
    generator: th.Generator | None = None,
    **_: Any,
) -> tuple[Latent, Belief[Categorical]]:
    draws = th.rand(tokens.shape[1], len(tokens), rssm.stoch, generator=generator)
    states, posts = [], []
    for t in range(tokens.shape[1]):
        keep = 1.0 - is_first[:, t, None].float()
        latent = Latent(latent.deter * keep, latent.stoch * keep[..., None])
        deter = _core(rssm.core, latent, prev_actions[:, t] * keep)
        hidden = rssm.post_hidden(th.cat([deter, tokens[:, t]], dim=-1))
        probs = _mixed(rssm, rssm.post_logits(hidden))
        sample = kernels.one_hot_sample(probs.detach(), draws[t])
        latent = Latent(deter, sample + probs - probs.detach())
        states.append(latent)
        posts.append(probs)
    filtered = Latent(*(th.stack(part, dim=1) for part in zip(*states, strict=True)))
    post = Categorical(th.stack(posts, dim=1))
    return filtered, Belief(post, lambda: rssm.prior(filtered.deter))


class _Imagination:
    def __init__(self, rssm: BlockRSSM) -> None:
        self.rssm = rssm

    def step(self, feat: Tensor, action: Tensor, draws: Tensor, out: Tensor) -> Tensor:
        rssm = self.rssm
        deter, flat = feat.split([rssm.deter, rssm.stoch * rssm.classes], dim=1)
        latent = Latent(deter, flat.unflatten(1, (rssm.stoch, rssm.classes)))
        deter = _core(rssm.core, latent, action)
        probs = _mixed(rssm, rssm.prior_logits(rssm.prior_hidden(deter)))
        sample = kernels.one_hot_sample(probs, draws)
        return out.copy_(Latent(deter, sample).feat)


def _attach(stack: MLP, tape: StackTape, rows: Tensor | None = None) -> Tensor:
    """Evaluate again what a tape has seen, with autograd's gradient."""
    seen = th.cat([x for _, x in tape.pieces]) if rows is None else rows
    return nn.Sequential.forward(stack, seen)


def _cross_entropy(
    logits: Tensor, below: Tensor, above: Tensor, upper: Tensor, scale: tuple[float, ...]
) -> Tensor:
    log_probs = F.log_softmax(logits, dim=-1)
    picked = th.lerp(log_probs.gather(-1, below), log_probs.gather(-1, above), upper)
    return -(picked * picked.new_tensor(scale)).sum(-1)


@contextmanager
def _plain_form() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compiled", None)
        patch.setattr(BlockRSSM, "observe", _observe)
        patch.setattr(BlockRSSM, "imagination", lambda rssm, _rows: _Imagination(rssm))
        patch.setattr(MLP, "attach", _attach)
        patch.setattr(distributions._TwoHotCrossEntropy, "apply", _cross_entropy)
        yield


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


@pytest.mark.parametrize("continuous", [False, True])
def test_a_hundred_updates_equal_the_plain_form(
    make_agent: MakeAgent, space_env: Any, continuous: bool
) -> None:
    """Losses to 1e-5 and the gradient to 1e-4 of their size, with the parameters of each update."""
    box = spaces.Box(-1, 1, (3,))
    actions = box if continuous else spaces.Discrete(3)
    agent = make_agent(
        lambda: space_env(box, actions, length=7),
        learning_starts=10**6,
        learning_rate=1e-3,
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
        with _plain_form():
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
    agent.train(UPDATES, agent.batch_size)
    after = agent.policy.trained_parameters()
    assert not any(th.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(wrong) == UPDATES
    assert sum(wrong) <= FLIPS
