"""
Mistakes that stopped ports of DreamerV3 from learning (specification, section 12.1).

One test for each, by its number there; 10, 15 and 16 are in test_checklist.py, 14 in
test_updates.py, 19 in tests/common/test_buffers.py.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.nn.beliefs import Belief, Categorical
from dreamzoo.nn.fast.unroll import Imagination
from dreamzoo.nn.networks.heads import TwoHotHead
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.world_model import Filtered
from tests.dreamer_v3.losses import behavior, dream, model_loss, replayed, sample

MakeAgent = Callable[..., DreamerV3]
GAMMA = 1 - 1 / 333


def _constant(head: TwoHotHead, value: float) -> None:
    """Make a two-hot head predict one number everywhere."""
    below, above, upper = head.twohot.encode(th.tensor(value))
    bias = th.full((head.out.out_features,), -60.0)
    bias[below] = th.log(1 - upper).clamp(min=-60)
    bias[above] = th.log(upper).clamp(min=-60)
    head.out.weight.data.zero_()
    head.out.bias.data.copy_(bias)


def test_pitfall_01_replayed_actions_led_to_their_observations(
    make_agent: MakeAgent, counter_env: Any
) -> None:
    """
    An observation is filtered with the action *before* it. Feeding the one after leaves all
    losses near zero, yet the policy never improves (stuck at 0 % on a grid world until fixed).
    """
    agent = make_agent(lambda: counter_env(length=5), learning_starts=10**6)
    taken: list[int] = []  # of all observations shown, by their numbers; the last of an episode: -1
    step = agent.env.step  # type: ignore[union-attr]

    def note(actions: np.ndarray) -> Any:
        result = step(actions)
        taken.extend([int(actions[0]), -1] if result[2][0] else [int(actions[0])])
        return result

    agent.env.step = note  # type: ignore[union-attr, method-assign]
    agent.learn(60)
    batch = sample(agent, 64)
    assert isinstance(batch.observations, th.Tensor)
    for b in range(64):
        for t in range(8):
            shown = int(batch.observations[b, t, 0])
            if batch.is_first[b, t]:
                assert int(batch.actions[b, t]) == 0
                assert float(batch.rewards[b, t]) == 0.0
            else:
                assert int(batch.actions[b, t]) == taken[shown - 1]
                assert float(batch.rewards[b, t]) == shown


def test_pitfall_01_imagined_actions_belong_to_the_state_they_were_chosen_in(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairing action i with state i + 1 destroys the credit assignment."""
    agent = collected()
    calls: list[tuple[th.Tensor, th.Tensor]] = []
    imagine = Imagination.step

    def spy(self: Imagination, feat: th.Tensor, action: th.Tensor, *args: Any, **kw: Any) -> Any:
        calls.append((feat.clone(), action))
        return imagine(self, feat, action, *args, **kw)

    monkeypatch.setattr(Imagination, "step", spy)
    dreamed = dream(agent)
    assert dreamed.feat.shape[0] == agent.horizon + 1
    assert len(calls) == agent.horizon
    for i, (feat, action) in enumerate(calls):
        assert th.equal(feat, dreamed.feat[i])
        policy = agent.policy.actor(dreamed.feat[i])
        log_prob = policy.log_prob(action.argmax(-1, keepdim=True))
        th.testing.assert_close(dreamed.log_prob[i], log_prob)
        th.testing.assert_close(dreamed.entropy[i], policy.entropy())


def test_pitfall_02_imagined_returns_use_rewards_and_values_of_the_next_state(
    collected: MakeAgent,
) -> None:
    """R_i = r_{i+1} + c_{i+1} (...v_{i+1}...); the formula printed in the paper shows v_i."""
    agent = collected()
    dreamed = dream(agent)
    _, returns, _ = behavior(agent, dreamed)
    with th.no_grad():
        reward = agent.policy.world_model.reward.mean(dreamed.feat)
        cont = th.sigmoid(agent.policy.world_model.cont(dreamed.feat))[..., 0]
        value = agent.policy.critic.mean(dreamed.feat)
    for n in range(6):
        expected = float(value[-1, n])
        for i in reversed(range(agent.horizon)):
            mixed = 0.05 * float(value[i + 1, n]) + 0.95 * expected
            expected = float(reward[i + 1, n]) + float(cont[i + 1, n]) * mixed
            assert float(returns[i, n]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("reward", [-3.7, 1.0, 1000.0])
def test_pitfall_03_rewards_are_learned_and_read_in_raw_space(
    collected: MakeAgent, reward: float
) -> None:
    """Symlog targets on symexp bins, or a symexp of the mean, are common mixtures of versions."""
    agent = collected(policy_kwargs={"size": "1m"})
    _constant(agent.policy.world_model.reward, reward)
    feat = th.randn(3, 640)
    predicted, _ = agent.policy.world_model.reward_and_discount(feat)
    th.testing.assert_close(predicted, th.full((3,), reward), rtol=1e-4, atol=1e-4)
    batch = sample(agent)._replace(rewards=th.full((4, 8), reward))
    losses = model_loss(agent, batch).terms
    weight = float(agent.policy.world_model.reward.twohot.encode(th.tensor(reward))[2])
    floor = -weight * math.log(weight) - (1 - weight) * math.log(1 - weight)
    assert losses["reward"].item() == pytest.approx(floor, abs=1e-3)  # 0.666 nats for a reward of 1


def test_pitfall_04_advantages_are_divided_by_the_range_of_two_averages(
    collected: MakeAgent,
) -> None:
    """Not by a range of this batch, nor by an average range; the offset is not subtracted."""
    agent = collected(ent_coef=0.0)
    normalizer = agent.policy.return_normalizer
    normalizer.low_value.fill_(-2.0)
    normalizer.high_value.fill_(6.0)
    dreamed = dream(agent)
    losses, returns, details = behavior(agent, dreamed)
    low, high = np.percentile(returns.numpy(), [5, 95])
    scale = (0.99 * 6 + 0.01 * high) - (0.99 * -2 + 0.01 * low)
    assert float(details["return_scale"]) == pytest.approx(scale, rel=1e-5)
    advantage = (returns - details["value"][:-1]) / scale
    expected = -(details["weight"] * dreamed.log_prob * advantage).mean()
    th.testing.assert_close(losses["actor"], expected)


def test_pitfall_05_the_whole_actor_term_is_weighted(collected: MakeAgent) -> None:
    """By the product of discounts up to and with the own state, entropy bonus included."""
    agent = collected(ent_coef=0.1)
    dreamed = dream(agent)
    losses, returns, details = behavior(agent, dreamed)
    cont = th.sigmoid(agent.policy.world_model.cont(dreamed.feat))[..., 0].detach()
    total = 0.0
    for n in range(6):
        weight = 1.0
        for i in range(agent.horizon):
            weight *= float(cont[i, n])
            assert float(details["weight"][i, n]) == pytest.approx(weight, rel=1e-5)
            advantage = float(returns[i, n] - details["value"][i, n])
            advantage /= float(details["return_scale"])
            bonus = 0.1 * dreamed.entropy[i, n].item()
            total -= weight * (dreamed.log_prob[i, n].item() * advantage + bonus)
    assert losses["actor"].item() == pytest.approx(total / (6 * agent.horizon), rel=1e-4)


def test_pitfall_05_data_can_say_where_an_imagined_trajectory_ended(collected: MakeAgent) -> None:
    agent = collected()
    alive = th.tensor([0.0] + [1.0] * 5)
    _, _, metrics = behavior(agent, dream(agent, start_discount=alive))
    assert not metrics["weight"][:, 0].any()
    assert metrics["weight"][0, 1:].tolist() == [1.0] * 5


def test_pitfall_05_the_data_says_so_where_asked(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the very steps that are imagined from, in their order."""
    agent = collected(start_cont="data", imagination_last=3)
    imagine, dreams = agent.policy.imagine, []

    def spy(*args: Any) -> Any:
        dreams.append(imagine(*args))
        return dreams[-1]

    monkeypatch.setattr(agent.policy, "imagine", spy)
    batch = sample(agent)
    is_terminal = th.zeros(4, 8, dtype=th.bool)
    is_terminal[1, 5] = is_terminal[2, 7] = is_terminal[3, 4] = True
    agent.losses(batch._replace(is_terminal=is_terminal))
    assert th.equal(dreams[0].discount[0], 1.0 - is_terminal[:, -3:].flatten().float())


def test_pitfall_06_gamma_is_applied_once(collected: MakeAgent) -> None:
    """The continue head has learned gamma: imagination must not multiply it in again."""
    agent = collected()
    model, critic = agent.policy.world_model, agent.policy.critic
    _constant(model.reward, 0.0)
    for head in (critic, agent.policy.critic_target):
        _constant(head, 0.0)
        head.out.bias.data.fill_(-60.0)
        head.out.bias.data[-2] = 60.0  # the bin before the last
    value = float(critic.twohot.bins[-2])
    model.cont.out.weight.data.zero_()
    model.cont.out.bias.data.fill_(math.log(GAMMA / (1 - GAMMA)))
    _, returns, _ = behavior(agent, dream(agent))
    expected = value
    for i in reversed(range(agent.horizon)):
        expected = GAMMA * (0.05 * value + 0.95 * expected)
        assert returns[i].tolist() == pytest.approx([expected] * 6, rel=1e-4)


def test_pitfall_06_the_continue_target_contains_gamma(collected: MakeAgent) -> None:
    """From is_terminal, never from is_last."""
    agent = collected()
    cont = agent.policy.world_model.cont
    cont.out.weight.data.zero_()
    cont.out.bias.data.fill_(0.4)
    q = 1 / (1 + math.exp(-0.4))
    flags = th.zeros(4, 8, dtype=th.bool)
    terminal = flags.clone()
    terminal[1, 3] = True
    is_last = terminal.clone()
    is_last[0] = True
    batch = sample(agent)._replace(is_last=is_last, is_terminal=terminal)
    alive = -GAMMA * math.log(q) - (1 - GAMMA) * math.log(1 - q)
    losses = model_loss(agent, batch).terms
    assert losses["cont"].item() == pytest.approx((31 * alive - math.log(1 - q)) / 32, rel=1e-5)


@pytest.mark.parametrize("truncate", [True, False])
def test_pitfall_07_time_limits_bootstrap_and_terminations_do_not(
    make_agent: MakeAgent, counter_env: Any, truncate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated CartPole must not teach that 500 good steps end in nothing."""
    agent = make_agent(lambda: counter_env(length=5, truncate=truncate), learning_starts=10**6)
    agent.learn(60)
    batch = sample(agent, 64)
    assert isinstance(batch.observations, th.Tensor)
    ends = batch.observations[..., 0] % 6 == 5  # the sixth record of an episode of five steps
    assert th.equal(batch.is_last, ends)
    assert th.equal(batch.is_terminal, ends if not truncate else th.zeros_like(ends))
    targets: list[th.Tensor] = []
    critic_loss = agent.policy.critic.loss

    def spy(logits: th.Tensor, *values: th.Tensor, **kwargs: Any) -> th.Tensor:
        targets.append(values[0])
        return critic_loss(logits, *values, **kwargs)

    monkeypatch.setattr(agent.policy.critic, "loss", spy)
    # Only the last observation of an episode is worth something, and no step is rewarded.
    boot = th.zeros(64, 8).masked_fill(ends, 1e5)
    rewardless = batch._replace(rewards=th.zeros(64, 8))
    replayed(agent, th.randn(64, 8, 16), rewardless, boot)
    found = 0
    for b in range(64):
        for t in range(7):
            following = [k for k in range(1, 8 - t) if ends[b, t + k]]
            if ends[b, t]:
                continue  # no successor in its episode, no loss
            k = following[0] if following else 0  # steps until the end
            expected = 1e5 * GAMMA * (GAMMA * 0.95) ** (k - 1) if k and truncate else 0.0
            assert float(targets[0][b, t]) == pytest.approx(expected, rel=1e-5)
            found += k > 1
    assert found


def test_pitfall_07_records_that_end_an_episode_get_no_critic_loss(collected: MakeAgent) -> None:
    """They have no successor in their episode."""
    agent = collected()
    batch = sample(agent)._replace(is_last=th.ones(4, 8, dtype=th.bool))
    loss = replayed(agent, th.randn(4, 8, 16), batch, th.randn(4, 8))
    assert loss.item() == 0.0


def test_pitfall_08_kl_is_summed_over_latents_then_clipped_then_averaged(
    collected: MakeAgent,
) -> None:
    """Clipping each latent, or the mean of the batch, changes what is learned."""
    agent = collected()
    batch = sample(agent)
    post = th.full((4, 8, 2, 4), 0.25)
    post[0, 0] = th.tensor([0.97, 0.01, 0.01, 0.01])  # 0.6 nats a latent: 1.2 together
    post[1, 1, 0] = th.tensor([0.97, 0.01, 0.01, 0.01])
    belief = Belief(Categorical(post), lambda: Categorical(th.full((4, 8, 2, 4), 0.25)))
    filtered = agent.observe_batch(batch)._replace(belief=belief)
    losses = model_loss(agent, batch, filtered).terms
    kl = 0.97 * math.log(0.97 / 0.25) + 0.03 * math.log(0.01 / 0.25)
    expected = (2 * kl if 2 * kl > 1 else 1.0) + max(kl, 1.0) + 30 * 1.0
    assert 2 * kl > 1
    assert losses["dyn"].item() == pytest.approx(expected / 32, rel=1e-5)
    assert losses["rep"].item() == pytest.approx(expected / 32, rel=1e-5)


def test_pitfall_08_below_the_free_nats_there_is_no_gradient(collected: MakeAgent) -> None:
    agent = collected(free_nats=1e6)
    losses = agent.losses(sample(agent)).terms
    for name in ("dyn", "rep"):
        assert losses[name].item() == 1e6
        params = agent.policy.trained_parameters()
        grads = th.autograd.grad(losses[name], params, allow_unused=True, retain_graph=True)
        assert all(g is None or not g.any() for g in grads)


@pytest.mark.parametrize("deterministic", [False, True])
def test_pitfall_09_an_episode_start_forgets_state_and_action(
    collected: MakeAgent, deterministic: bool
) -> None:
    """The previous action too (pytorch/rl#4128); only in the rows that start."""
    agent = collected()
    obs = np.random.default_rng(0).random((3, 3), np.float32)
    _, dirty = agent.predict(obs, deterministic=True)
    assert dirty is not None
    dirty = tuple(part + 0.7 for part in dirty)
    start = np.array([True, False, True])
    th.manual_seed(1)
    fresh, fresh_state = agent.predict(obs, deterministic=deterministic)
    th.manual_seed(1)
    reset, reset_state = agent.predict(
        obs, state=dirty, episode_start=start, deterministic=deterministic
    )
    np.testing.assert_array_equal(fresh[start], reset[start])
    assert fresh_state is not None
    assert reset_state is not None
    for one, other in zip(fresh_state, reset_state, strict=True):
        np.testing.assert_array_equal(one[start], other[start])
    assert not np.allclose(fresh_state[0][1], reset_state[0][1])


def test_pitfall_09_collecting_forgets_at_the_right_step(
    make_agent: MakeAgent, counter_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step early or late mixes two episodes (a port had it one step early)."""
    agent = make_agent(lambda: counter_env(length=4), learning_starts=10**6)
    seen: list[tuple[int, bool]] = []
    step = agent.policy.act

    def spy(obs: th.Tensor, state: Any, is_first: th.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append((int(obs[0, 0]), bool(is_first[0])))
        return step(obs, state, is_first, *args, **kwargs)

    monkeypatch.setattr(agent.policy, "act", spy)
    agent.learn(10)
    agent.learn(10, reset_num_timesteps=False)  # goes on within the episode
    # Four steps show five observations; the policy never sees the fifth.
    assert seen == [(i, i % 5 == 0) for i in range(25) if i % 5 != 4]


def test_pitfall_11_returns_bootstrap_from_the_critic_not_from_the_slow_one(
    collected: MakeAgent,
) -> None:
    """The slow critic is a regularizer on its mean, no target network."""
    agent = collected()
    losses, returns, _ = behavior(agent, dream(agent))
    for p in agent.policy.critic_target.parameters():
        p.data.add_(0.3)
    dreamed = dream(agent)
    others, same, _ = behavior(agent, dreamed)
    assert th.equal(returns, same)
    assert losses["critic"].item() != others["critic"].item()
    agent.slow_coef = 0.0
    third, _, details = behavior(agent, dreamed)
    critic = agent.policy.critic
    plain = critic.loss(critic(dreamed.feat[:-1]), returns)
    assert third["critic"].item() == pytest.approx((details["weight"] * plain).mean().item())


def test_pitfall_12_the_reconstruction_of_a_step_is_a_sum(
    collected: MakeAgent, space_env: Any
) -> None:
    """Means shrink it 10^3 to 10^4 times against the KL terms, and the latents collapse."""
    image = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    agent = collected(
        lambda: space_env(image, spaces.Discrete(2), length=7), policy="CnnPolicy", buffer_size=200
    )
    batch = sample(agent)
    filtered = agent.observe_batch(batch)
    losses = model_loss(agent, batch, filtered).terms
    predicted = agent.policy.world_model.decoder(filtered.latent.feat.flatten(0, 1))
    (image_key,) = predicted
    assert isinstance(batch.observations, th.Tensor)
    error = predicted[image_key] - batch.observations.flatten(0, 1).float() / 255
    assert losses["recon"].item() == pytest.approx(error.square().sum().item() / 32, rel=1e-4)


def test_pitfall_13_images_are_scaled_when_acting_as_when_training(
    collected: MakeAgent, space_env: Any
) -> None:
    """A port forgot to divide by 255 when acting."""
    image = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    agent = collected(
        lambda: space_env(image, spaces.Discrete(2), length=7), policy="CnnPolicy", buffer_size=200
    )
    model = agent.policy.world_model
    seen: list[th.Tensor] = []
    model.encoder.register_forward_hook(lambda _m, inputs, _out: seen.extend(inputs[0].values()))
    batch = sample(agent, 1)
    assert isinstance(batch.observations, th.Tensor)
    agent.observe_batch(batch)
    agent.predict(batch.observations[0].numpy())
    assert th.equal(seen[0], seen[1])
    assert float(seen[0].max()) <= 1.0


def test_pitfall_17_every_update_draws_a_new_batch(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = collected()
    assert agent.replay_buffer is not None
    starts: list[list[int]] = []
    sample = agent.replay_buffer.sample

    def spy(*args: Any, **kwargs: Any) -> SequenceBatch:
        batch = sample(*args, **kwargs)
        starts.append(batch.windows.start.tolist())
        return batch

    monkeypatch.setattr(agent.replay_buffer, "sample", spy)
    agent.train(6, 4)
    assert len(starts) == 6
    assert len({tuple(s) for s in starts}) == 6


def test_pitfall_18_windows_start_from_stored_latents(collected: MakeAgent) -> None:
    """A state of another batch, or none without a zero start, trains on unrelated states."""
    agent = collected()
    batch = sample(agent)
    start = agent.start_latent(batch)
    assert agent.replay_buffer is not None
    for b, (env, first) in enumerate(zip(*batch.windows, strict=True)):
        stored = {k: v[first - 1, env] for k, v in agent.replay_buffer.latents.items()}
        assert start.deter[b].tolist() == stored["deter"].tolist()
        assert start.stoch[b].argmax(-1).tolist() == stored["stoch"].tolist()
    assert (start.stoch.sum(-1) == 1).all()


def test_pitfall_18_stored_latents_are_those_of_acting(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(learning_starts=10**6, n_envs=2)
    latents: list[Latent] = []
    step = agent.policy.act

    def spy(*args: Any, **kwargs: Any) -> Any:
        action, state = step(*args, **kwargs)
        latents.append(state.latent)
        return action, state

    monkeypatch.setattr(agent.policy, "act", spy)
    agent.learn(12)  # six vector steps: no episode of seven ends
    assert len(latents) == 6
    assert agent.replay_buffer is not None
    stored = agent.replay_buffer.latents
    for t, latent in enumerate(latents):
        np.testing.assert_array_equal(stored["deter"][t], latent.deter.numpy())
        np.testing.assert_array_equal(stored["stoch"][t], latent.stoch.argmax(-1).numpy())


def test_pitfall_18_latents_are_refreshed_by_every_update(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what this update filtered, in every stream; where rows overlap, the later row's."""
    agent = collected(n_envs=2)
    assert agent.replay_buffer is not None
    stored = agent.replay_buffer.latents
    expected = {k: v.copy() for k, v in stored.items()}
    batch, model = sample(agent, 24), agent.policy.world_model
    filtered: list[Filtered] = []
    observe = model.observe_sequence

    def spy(*args: Any) -> Filtered:
        filtered.append(observe(*args))
        return filtered[-1]

    monkeypatch.setattr(model, "observe_sequence", spy)
    agent.replay_buffer.sample = lambda *_args, **_kwargs: batch  # type: ignore[method-assign]
    agent.train(1, 24)
    latent = filtered[0].latent
    deter, classes = latent.deter.detach(), latent.stoch.argmax(-1)
    places = set()
    for b, (env, first) in enumerate(zip(*batch.windows, strict=True)):
        for t in range(8):
            places.add((first + t, env))
            expected["deter"][first + t, env] = deter[b, t]
            expected["stoch"][first + t, env] = classes[b, t]
    assert len(places) < 24 * 8
    for name, latents in expected.items():
        np.testing.assert_allclose(stored[name], latents, rtol=0, atol=1e-6)


def test_pitfall_18_without_context_windows_start_from_zero(make_agent: MakeAgent) -> None:
    agent = make_agent(replay_context=False, learning_starts=10**6)
    agent.learn(40)
    batch = sample(agent)
    assert batch.is_first[:, 0].all()
    assert not any(part.any() for part in agent.start_latent(batch))
    agent.train(2, 4)


def test_pitfall_20_entropy_is_raised(collected: MakeAgent) -> None:
    """With no reward and no value, all that is left of the actor's loss is the bonus."""
    agent = collected(ent_coef=1.0)
    for head in (agent.policy.world_model.reward, agent.policy.critic, agent.policy.critic_target):
        head.out.weight.data.zero_()
        head.out.bias.data.zero_()
    dreamed = dream(agent)
    losses, returns, details = behavior(agent, dreamed)
    assert not returns.any()
    assert losses["actor"].item() == pytest.approx(
        -(details["weight"] * dreamed.entropy).mean().item(), rel=1e-5
    )
    losses["actor"].backward()
    with th.no_grad():
        for p in agent.policy.actor.parameters():
            assert p.grad is not None
            p.sub_(0.05 * p.grad)
        after = agent.policy.actor(dreamed.feat[:-1]).entropy()
    assert float(after.mean()) > float(dreamed.entropy.detach().mean())


def test_pitfall_20_good_actions_become_more_likely(collected: MakeAgent) -> None:
    agent = collected(ent_coef=0.0)
    dreamed = dream(agent, rows=40)
    losses, returns, details = behavior(agent, dreamed)
    losses["actor"].backward(inputs=list(agent.policy.actor.parameters()), retain_graph=True)
    advantage = returns - details["value"][:-1]
    gradient = th.autograd.grad(losses["actor"], dreamed.log_prob)[0]
    assert ((gradient < 0) == (advantage > 0)).all()


def test_total_loss_is_the_weighted_sum(
    collected: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 4: representation 0.1, replay critic 0.3, everything else 1, in the update itself."""
    agent = collected()
    batch = sample(agent)
    averages = {k: v.clone() for k, v in agent.policy.return_normalizer.state_dict().items()}
    agent.set_random_seed(3)
    losses = agent.losses(batch).terms
    weights = {
        **dict.fromkeys(("recon", "reward", "cont", "dyn", "actor", "critic"), 1.0),
        "rep": 0.1,
        "replay_critic": 0.3,
    }
    assert losses.keys() == weights.keys()
    total = th.stack([weights[name] * loss for name, loss in losses.items()]).sum()
    parameters = agent.policy.trained_parameters()
    expected = th.autograd.grad(total, parameters)
    agent.policy.return_normalizer.load_state_dict(averages)
    agent.set_random_seed(3)
    monkeypatch.setattr(agent.replay_buffer, "sample", lambda *_args, **_kwargs: batch)
    agent.train(1, 4)
    for p, gradient in zip(parameters, expected, strict=True):
        th.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("last", [1, 3, 100])
def test_imagination_may_start_from_the_last_steps_only(
    collected: MakeAgent, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = collected(imagination_last=last)
    imagine, starts = agent.policy.imagine, []

    def spy(start: Latent, *args: Any) -> Any:
        starts.append(start)
        return imagine(start, *args)

    monkeypatch.setattr(agent.policy, "imagine", spy)
    losses = agent.losses(sample(agent))
    expected = losses.latents["deter"][:, -last:].flatten(0, 1)  # rows in the order (b, t)
    assert th.equal(starts[0].deter, expected)
    agent.train(2, 4)
