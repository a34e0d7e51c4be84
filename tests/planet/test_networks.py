"""Layers, sizes and reductions of PlaNet, against the paper and slow loops."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import PlaNet
from dreamzoo.nn.beliefs import Gaussian
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.rssm.gaussian import (
    GaussianDynamics,
    GaussianRSSM,
    GaussianSSM,
    overshoot,
)
from dreamzoo.planet.losses import overshooting_loss, world_model_loss
from dreamzoo.planet.policies import PlaNetPolicy, dequantise, quantise

MakeAgent = Callable[..., PlaNet]

IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)


def count(action_dim: int, **kwargs: Any) -> int:
    actions = spaces.Box(-1, 1, (action_dim,))
    policy = PlaNetPolicy(IMAGE, actions, lambda _: 1e-3, **kwargs)
    return sum(p.numel() for p in policy.world_model.parameters())


def test_parameter_counts() -> None:
    """The authors' GRU has one bias for each gate, torch's has two: 600 numbers more."""
    assert count(1) == 5_292_220 + 600
    assert count(6) == 5_293_220 + 600
    assert count(1, dynamics="ssm") == 4_718_620
    assert count(1, dynamics="rnn") == count(1)


@pytest.mark.parametrize("kind", ["rssm", "ssm"])
def test_filtering_step_by_step(kind: str) -> None:
    """A plain reading of section 1.2: prior from the last sample, posterior from the new memory."""
    model: Any = GaussianRSSM(5, 2, 7, 3, 6) if kind == "rssm" else GaussianSSM(5, 2, 3, 6)
    actions, tokens = th.randn(2, 4, 2), th.randn(2, 4, 5)
    first = th.zeros(2, 4, dtype=th.bool)
    first[:, 0] = True
    first[1, 2] = True
    states, beliefs = model.observe(
        Latent(th.randn(2, model.deter), th.randn(2, 3, 1)), actions, tokens, first, mode=True
    )
    for row in range(2):
        h, s = th.zeros(model.deter), th.zeros(3)
        for t in range(4):
            if first[row, t]:
                h, s = th.zeros(model.deter), th.zeros(3)
            action = th.zeros(2) if first[row, t] else actions[row, t]
            x = th.cat([s, action])
            if kind == "rssm":
                h = model.cell(model.input(x)[None], h[None])[0]
                prior, seen = model.prior_head(h), [h]
            else:
                prior = model.prior_head(x)
                seen = list(prior)
            post = model.post_head(th.cat([*seen, tokens[row, t]]))
            s = post.mean
            th.testing.assert_close(beliefs.prior.mean[row, t], prior.mean)
            th.testing.assert_close(beliefs.post.std[row, t], post.std)
            th.testing.assert_close(states.deter[row, t], h)
            th.testing.assert_close(states.stoch[row, t, :, 0], s)
    assert (beliefs.post.std > 0.1).all()


@pytest.mark.parametrize("sample", [True, False])
def test_what_is_computed_outside_the_loop_changes_nothing(sample: bool) -> None:
    """The loop of the base class on the same noise: states, beliefs and all gradients."""
    model = GaussianRSSM(5, 2, 7, 3, 6, sample=sample).double()
    first = th.zeros(2, 6, dtype=th.bool)
    first[:, 0] = first[1, 3] = True
    latent = Latent(th.randn(2, 7).double(), th.randn(2, 3, 1).double())
    results = []
    for observe in (GaussianRSSM.observe, GaussianDynamics.observe):
        th.manual_seed(1)
        actions, tokens = th.randn(2, 6, 2).double(), th.randn(2, 6, 5).double().requires_grad_()
        generator = th.Generator().manual_seed(0)
        states, beliefs = observe(model, latent, actions, tokens, first, generator)
        outputs = [*states, *beliefs.post, *beliefs.prior]
        loss = th.stack([(x * th.randn_like(x)).sum() for x in outputs]).sum()
        gradients = th.autograd.grad(loss, [tokens, *model.parameters()])
        results.append([*outputs, *gradients])
    assert len(results[0]) == 6 + 1 + len(list(model.parameters()))
    for fast, slow in zip(*results, strict=True):
        th.testing.assert_close(fast, slow)


class Sum(GaussianDynamics):
    """The next state is the last one and the action; nothing is random."""

    def __init__(self) -> None:
        super().__init__(0, 1, sample=False)
        self.weight = th.nn.Parameter(th.zeros(1))

    def prior(self, latent: Latent, action: th.Tensor) -> tuple[th.Tensor, Gaussian]:
        mean = latent.stoch[..., 0] + action
        return latent.deter, Gaussian(mean, th.ones_like(mean))


def test_overshooting_on_the_specs_vector() -> None:
    """Distances d start at posteriors and arrive d steps later; none starts before the chunk."""
    obs, actions = 10.0 * th.arange(1, 7), 0.1 * th.arange(6)
    latent = Latent(th.zeros(1, 6, 0), obs[None, :, None, None])
    first = th.zeros(1, 6, dtype=th.bool)
    predicted, exists = overshoot(Sum(), latent, actions[None, :, None], first, 3)  # type: ignore[abstract]
    by_start = [[10.1, 20.2, 30.3, 40.4, 50.5], [10.3, 20.5, 30.7, 40.9], [10.6, 20.9, 31.2]]
    for d, row in enumerate(by_start, 1):
        assert exists[d - 1, 0].tolist() == [False] * d + [True] * (6 - d)
        th.testing.assert_close(predicted.mean[d - 1, 0, d:, 0], th.tensor(row))


def test_overshooting_does_not_reach_across_episodes() -> None:
    latent = Latent(th.zeros(1, 6, 0), th.zeros(1, 6, 1, 1))
    first = th.zeros(1, 6, dtype=th.bool)
    first[0, 3] = True
    _, exists = overshoot(Sum(), latent, th.zeros(1, 6, 1), first, 3)  # type: ignore[abstract]
    for d in range(1, 4):
        for t in range(6):
            crosses = any(t - d < start <= t for start in (3,))
            assert bool(exists[d - 1, 0, t]) == (t >= d and not crosses)


def test_images_have_five_bits_and_noise() -> None:
    levels = th.arange(256.0) / 255.0
    noisy = quantise(levels.expand(200, 256))
    assert noisy.min() >= -0.5
    assert noisy.max() < 0.5
    expected = (th.arange(256) // 8) / 32 - 0.5
    assert ((noisy >= expected) & (noisy < expected + 1 / 32)).all()
    th.testing.assert_close(noisy.mean(0), expected + 1 / 64, atol=3e-3, rtol=0)
    back = (dequantise(noisy) * 255).round().long()
    assert (back == th.arange(256) // 8 * 8).all()
    assert th.equal(quantise(levels, mode=True), expected + 1 / 64)


def test_encoder_and_decoder_see_the_same_noise(make_agent: MakeAgent) -> None:
    agent = make_agent(spaces.Box(0, 255, (64, 64, 3), np.uint8), "CnnPolicy").learn(14)
    assert agent.replay_buffer is not None
    obs = agent.replay_buffer.sample(2).observations
    model, seen = agent.policy.world_model, []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    first = th.ones(2, 4, dtype=th.bool)
    targets = model.observe_sequence(model.initial(2), th.zeros(2, 4, 2), obs, first).targets
    assert th.equal(seen[0]["observation"], targets["observation"])


def test_loss_reductions(make_agent: MakeAgent) -> None:
    """Section 1.3: sums over features, KL clipped in every step, then means over batch and time."""
    agent = make_agent(free_nats=2.0).learn(20)
    assert agent.replay_buffer is not None
    with th.no_grad():  # a fresh posterior hardly differs from the prior
        for p in agent.policy.world_model.dynamics.parameters():
            p.add_(0.15 * th.randn(p.shape))
    batch = agent.replay_buffer.sample(3)
    model, filtered = agent.policy.world_model, agent.observe_batch(batch)
    losses, _ = world_model_loss(model, filtered, batch.rewards, free_nats=2.0)
    post, prior = filtered.belief
    recon, reward, kl = th.zeros(()), th.zeros(()), th.zeros(())
    all_nats = []
    steps = [(b, t) for b in range(3) for t in range(4)]
    for b, t in steps:
        feat = filtered.latent.feat[b, t]
        seen = model.decoder(feat[None])["observation"][0]
        assert isinstance(batch.observations, th.Tensor)
        recon += sum(
            0.5 * (x - y) ** 2 for x, y in zip(seen, batch.observations[b, t], strict=True)
        )
        reward += 0.5 * (model.reward(feat) - batch.rewards[b, t]) ** 2
        nats = th.zeros(())
        for i in range(3):
            m, s = post.mean[b, t, i], post.std[b, t, i]
            n, r = prior.mean[b, t, i], prior.std[b, t, i]
            nats += th.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5
        all_nats.append(nats.item())
        kl += (nats - 2.0).clamp(min=0.0)
    assert min(all_nats) < 2.0 < max(all_nats)
    for name, total in {"recon": recon, "reward": reward, "kl": kl}.items():
        th.testing.assert_close(losses[name], total / len(steps))


def test_the_deterministic_model_learns_to_predict(make_agent: MakeAgent) -> None:
    """The trap of section 1.6: without a KL term nothing trains the prior's mean."""
    agent = make_agent(policy_kwargs=dict(dynamics="rnn")).learn(20)
    assert agent.replay_buffer is not None
    losses = agent.losses(agent.replay_buffer.sample(3)).terms
    head: Any = agent.policy.world_model.dynamics.prior_head
    (gradient,) = th.autograd.grad(th.stack(list(losses.values())).sum(), head.mean.weight)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("kind", ["rssm", "ssm", "rnn"])
def test_the_overshooting_target_is_held_fixed(make_agent: MakeAgent, kind: str) -> None:
    """It draws predictions to beliefs, not beliefs to predictions; starts stay attached."""
    agent = make_agent(policy_kwargs=dict(dynamics=kind)).learn(20)
    assert agent.replay_buffer is not None
    batch = agent.replay_buffer.sample(3)
    actions = agent.policy.action_codec.encode(batch.actions)
    filtered = agent.observe_batch(batch)
    # Cut off from the states that predictions start in, beliefs are reached as targets alone.
    alone = filtered._replace(latent=filtered.latent.detach())
    post, dynamics = filtered.belief.post, cast(Any, agent.policy.world_model.dynamics)
    towards = [post.mean, post.std, dynamics.prior_head.mean.weight]
    settings: Any = dict(distance=3, free_nats=0.0)
    loss = overshooting_loss(dynamics, alone, actions, batch.is_first, **settings)
    *target, prior = th.autograd.grad(loss, towards, materialize_grads=True)
    assert not any(gradient.any() for gradient in target)
    assert prior.any()
    loss = overshooting_loss(dynamics, filtered, actions, batch.is_first, **settings)
    assert th.autograd.grad(loss, filtered.latent.stoch)[0].any()
