"""Dreams in one batch of tensors: spaces, randomness, resets, starts, pictures."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.envs import DreamVectorEnv
from dreamzoo.nn.rssm.dynamics import Latent
from tests.envs.dreams.conftest import (
    BOX,
    DISCRETE,
    IMAGE,
    MIXED,
    SHIFTED,
    VECTOR,
    make_agent,
    rollout,
)
from tests.oracles import fix_draws


@pytest.mark.parametrize(
    "observation_space", [VECTOR, IMAGE, MIXED], ids=["vector", "image", "dict"]
)
@pytest.mark.parametrize("action_space", [SHIFTED, BOX, spaces.MultiDiscrete([2, 3])])
def test_dreams_keep_to_the_spaces_of_the_agent(
    observation_space: spaces.Space, action_space: spaces.Space
) -> None:
    agent = make_agent(observation_space, action_space, steps=20)
    dream = DreamVectorEnv(agent, 3, horizon=4)
    assert dream.single_observation_space == agent.observation_space
    assert dream.single_action_space == agent.action_space
    obs, info = dream.reset(seed=0)
    for _ in range(6):
        parts = obs if isinstance(obs, dict) else {"": obs}
        rows = [{k: v[i].numpy() for k, v in parts.items()} for i in range(3)]
        for row in rows:
            value: Any = row if isinstance(obs, dict) else row[""]
            assert _contains(dream.single_observation_space, value)
        assert set(info) >= {"latent", "continue", "entropy", "value"}
        assert all(info[k].shape == (3,) for k in ("continue", "entropy", "value"))
        assert (info["entropy"] > 0).all()
        assert ((info["continue"] > 0) & (info["continue"] <= 1)).all()
        obs, reward, terminated, truncated, info = dream.step(dream.action_space.sample())
        assert (reward.dtype, reward.shape) == (th.float32, (3,))
        assert terminated.dtype == truncated.dtype == th.bool


def _contains(space: spaces.Space, value: Any) -> bool:
    if isinstance(space, spaces.Dict):
        return all(_contains(part, value[name]) for name, part in space.items())
    return bool(space.contains(value if space.shape else value[()]))


def test_dreams_of_a_state_begin_in_it_and_part(agent: DreamerV3) -> None:
    """From one moment of one dream any number of others can go on."""
    one = DreamVectorEnv(agent, 1, termination=None)
    one.reset(seed=0)
    one.step([1])
    many = DreamVectorEnv(agent, 5, termination=None)
    many.reset(seed=1, options={"state": one.latent})
    assert th.equal(many.latent.feat, one.latent.feat.expand(5, -1))
    many.step([1] * 5)
    assert len(many.latent.stoch.flatten(1).unique(dim=0)) > 1
    many.reset()
    assert th.equal(many.latent.feat, one.latent.feat.expand(5, -1))


def test_latent_observations_are_the_features(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 3, observation="latent")
    obs, info = dream.reset(seed=0)
    assert isinstance(obs, th.Tensor)
    assert th.equal(obs, info["latent"])
    assert th.equal(obs, dream.latent.feat)
    assert dream.single_observation_space.shape == obs.shape[1:]


def test_what_a_step_returns_belongs_to_the_state_it_leads_to() -> None:
    agent = make_agent(VECTOR, DISCRETE, steps=5)
    model = agent.policy.world_model
    for head in (model.reward, model.cont):  # a fresh reward head says zero of every state
        th.nn.init.normal_(head.out.weight)
    dream = DreamVectorEnv(agent, 4, termination=None, horizon=None)
    dream.reset(seed=0)
    before = dream.latent
    obs, reward, _, _, info = dream.step(dream.action_space.sample())
    with th.no_grad():
        expected, lasts = model.predict(dream.latent)
        assert not th.isclose(expected, model.predict(before)[0]).any()
        assert th.equal(obs, model.decode(dream.latent))  # type: ignore[arg-type]
    assert th.equal(reward, expected)
    assert th.equal(info["continue"], lasts)
    assert th.equal(info["latent"], dream.latent.feat)


@pytest.mark.parametrize("start", ["initial", "replay"])
def test_same_seed_same_dream_bit_for_bit(agent: DreamerV3, start: Any) -> None:
    one, other = (DreamVectorEnv(agent, 4, horizon=5, start=start) for _ in range(2))
    first = rollout(one)
    th.manual_seed(99)  # the global stream does not matter
    assert all(th.equal(a, b) for a, b in zip(first, rollout(other), strict=True))
    assert all(th.equal(a, b) for a, b in zip(first, rollout(one), strict=True))
    assert not all(th.equal(a, b) for a, b in zip(first, rollout(one, seed=4), strict=True))


def test_a_dream_does_not_disturb_the_agent(agent: DreamerV3) -> None:
    buffer = agent.replay_buffer
    assert buffer is not None
    assert agent._generator is not None

    def streams() -> list[Any]:
        return [
            buffer.rng.bit_generator.state,
            len(buffer._online),
            agent._generator.get_state().tolist(),  # type: ignore[union-attr]
            th.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # type: ignore[index]
        ]

    before = streams()
    rollout(DreamVectorEnv(agent, 4, start="replay", sample_reward=True))
    assert streams() == before


def test_episodes_end_at_the_horizon_and_restart_in_the_same_step(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 3, horizon=4, termination=None)
    dream.reset(seed=0)
    actions = np.full(3, 1)
    for step in range(1, 9):
        obs, _, terminated, truncated, info = dream.step(actions)
        assert isinstance(obs, th.Tensor)
        assert not terminated.any()
        assert truncated.tolist() == [step % 4 == 0] * 3
        if step % 4 == 0:
            assert info["_final_obs"].all()
            assert not th.equal(info["final_obs"], obs)
            decoded = agent.world_model.decode(dream.latent)
            assert isinstance(decoded, th.Tensor)
            assert th.equal(obs, decoded)
            assert set(info["final_info"]) == {"latent", "continue", "entropy", "value"}
            assert not th.equal(info["final_info"]["latent"], info["latent"])
        else:
            assert "final_obs" not in info
    following = dream.step(actions)[0]
    assert isinstance(following, th.Tensor)
    assert isinstance(obs, th.Tensor)
    assert not th.equal(following, obs)


def test_termination_restarts_only_the_rows_that_ended(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 64, horizon=None)
    dream.reset(seed=1)
    _, _, terminated, truncated, info = dream.step(np.ones(64, int))
    assert 0 < int(terminated.sum()) < 64
    assert not truncated.any()
    assert th.equal(info["_final_obs"], terminated)
    kept = ~terminated
    assert th.equal(info["latent"][kept], info["final_info"]["latent"][kept])
    changed = (info["latent"] != info["final_info"]["latent"]).any(1)
    assert changed[terminated].all()


def test_termination_follows_the_predicted_probability(
    agent: DreamerV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a chance to go on far from one half, or the inverted rule would pass."""
    cont = agent.policy.world_model.cont.out
    monkeypatch.setitem(cont._parameters, "bias", th.nn.Parameter(cont.bias.detach() + 2.0))
    dream = DreamVectorEnv(agent, 4_000, horizon=None, observation="latent")
    dream.reset(seed=0)
    _, _, terminated, _, info = dream.step(np.ones(4_000, int))
    expected = 1 - float(info["final_info"]["continue"].mean())
    assert expected < 0.3
    assert float(terminated.float().mean()) == pytest.approx(expected, abs=0.03)
    cut = float(info["final_info"]["continue"].median())
    dream = DreamVectorEnv(agent, 50, termination=cut)
    dream.reset(seed=0)
    _, _, terminated, _, info = dream.step(np.ones(50, int))
    ending = info.get("final_info", info)["continue"] < cut
    assert th.equal(terminated, ending)


def test_rewards_are_the_mean_or_a_draw(agent: DreamerV3) -> None:
    mean, drawn = (
        DreamVectorEnv(agent, 2_000, sample_reward=s, termination=None, observation="latent")
        for s in (False, True)
    )
    for dream in (mean, drawn):
        dream.reset(seed=0)
    actions = np.ones(2_000, int)
    _, expected, _, _, info = mean.step(actions)
    head = agent.policy.world_model.reward
    with th.no_grad():
        th.testing.assert_close(expected, head.mean(info["latent"]))
    _, reward, *_ = drawn.step(actions)
    assert th.isin(reward, head.twohot.bins).all()
    assert len(reward.unique()) > 3


def test_disabled_autoreset_resets_the_rows_that_are_asked_for(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 4, horizon=3, autoreset_mode=AutoresetMode.DISABLED)
    assert dream.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    dream.reset(seed=0)
    for _ in range(3):
        _, _, _, truncated, info = dream.step(np.ones(4, int))
        assert "final_obs" not in info
    assert truncated.all()
    before = dream.latent.feat
    rows = th.tensor([True, False, True, False])
    dream.reset(options={"reset_mask": rows})
    same = (dream.latent.feat == before).all(1)
    assert same.tolist() == [False, True, False, True]
    assert dream.step(np.ones(4, int))[3].tolist() == [False, True, False, True]


def test_initial_starts_are_what_the_model_believes_before_it_sees(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 500)
    dream.reset(seed=0)
    nothing, still = (
        agent.policy.world_model.initial(1),
        th.zeros(1, agent.policy.world_model.action_dim),
    )
    with th.no_grad():
        deter = agent.policy.world_model.imagine_step(nothing, still).deter
        probs = agent.policy.world_model.dynamics.prior(deter).probs[0]
    th.testing.assert_close(dream.latent.deter, deter.expand(500, -1), atol=1e-5, rtol=1e-5)
    assert (dream.latent.stoch.mean(0) - probs).abs().max() < 0.1


def test_replay_starts_are_posterior_states(
    agent: DreamerV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered here once more, one observation after the other, from the stored latents on."""
    buffer, model, batches = agent.replay_buffer, agent.policy.world_model, []
    assert buffer is not None
    sample = buffer.sample

    def spy(*args: Any, **kwargs: Any) -> SequenceBatch:
        batches.append(sample(*args, **kwargs))
        return batches[-1]

    monkeypatch.setattr(buffer, "sample", spy)
    fix_draws(monkeypatch, uniform=0.4, normal=0.0)
    dream = DreamVectorEnv(agent, 300, start="replay")
    dream.reset(seed=0)
    (batch,) = batches
    actions, stored, pool = agent.policy.action_codec.encode(batch.actions), buffer.latents, []
    for b, (env, start) in enumerate(zip(*batch.windows, strict=True)):
        before = (start - 1) % buffer.buffer_size, env  # of the record before the window
        deter = th.as_tensor(stored["deter"][before])[None]
        classes = th.as_tensor(stored["stoch"][before]).long()
        latent = Latent(deter, th.eye(model.dynamics.classes)[classes][None])
        for t in range(batch.rewards.shape[1]):
            obs, first = batch.observations[b, t], batch.is_first[b, t]  # type: ignore[index]
            with th.no_grad():
                latent = model.observe(latent, actions[b, t][None], obs[None], first[None])
            if not batch.is_last[b, t]:  # nothing follows it
                pool.append(latent.feat)
    assert not batch.is_first[:, 0].all()  # or the stored latents would not matter
    difference = (dream.latent.feat[:, None] - th.cat(pool)).abs().amax(-1)
    assert float(difference.amin(1).max()) < 1e-5
    assert float(difference.amin(0).max()) < 1e-5  # and dreams begin in each of them


def test_a_context_is_filtered_and_every_reset_returns_to_it(agent: DreamerV3) -> None:
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(3, 5, 3)).clip(-2, 2).astype(np.float32)
    actions = rng.integers(3, size=(3, 4))
    context = {"observations": obs, "actions": actions}
    dream = DreamVectorEnv(agent, 3, horizon=2, termination=None)
    dream.reset(seed=0, options={"context": context})
    begin = dream.latent.feat
    # One observation after the other, with the dream's own random numbers.
    numbers, _ = gym.utils.seeding.np_random(0)
    generator = th.Generator().manual_seed(int(numbers.integers(2**31)))
    codec, state = agent.policy.action_codec, agent.policy.initial_state(3)
    latent, before = state.latent, state.prev_action
    with th.no_grad():
        for t in range(5):
            first = th.full((3,), t == 0)
            shown = th.as_tensor(obs[:, t])
            latent = agent.world_model.observe(latent, before, shown, first, generator)
            if t < 4:
                before = codec.encode(codec.from_env(th.as_tensor(actions[:, t])))
    th.testing.assert_close(begin, latent.feat)
    dream.step(np.ones(3, int))
    dream.step(np.ones(3, int))  # the horizon: back to the context
    assert th.equal(dream.latent.feat, begin)
    dream.reset(options={"context": None})
    assert not th.equal(dream.latent.feat, begin)


def test_a_context_of_one_step_is_the_first_observation(agent: DreamerV3) -> None:
    """With the latent's mode instead of a draw this is exactly what the policy would filter."""
    obs = np.array([[[0.5, -1.0, 2.0]]], np.float32)
    dream = DreamVectorEnv(agent, 4)
    dream.reset(
        seed=0, options={"context": {"observations": obs, "actions": np.zeros((1, 0), int)}}
    )
    start = agent.policy.initial_state(1)
    with th.no_grad():
        latent = agent.world_model.observe(
            start.latent, start.prev_action, th.as_tensor(obs[:, 0]), th.ones(1, dtype=th.bool)
        )
    th.testing.assert_close(dream.latent.deter, latent.deter.expand(4, -1))
    assert len(dream.latent.feat.unique(dim=0)) == 1


@pytest.mark.parametrize("dict_obs", [False, True])
def test_rendering_draws_what_is_dreamed(image_agent: DreamerV3, dict_obs: bool) -> None:
    agent = make_agent(MIXED, DISCRETE, steps=20) if dict_obs else image_agent
    dream = DreamVectorEnv(agent, 2, render_mode="rgb_array", termination=None)
    obs, _ = dream.reset(seed=0)
    frames = dream.render()
    assert frames is not None
    image = obs["image"] if isinstance(obs, dict) else obs
    assert len(frames) == 2
    for frame, shown in zip(frames, image.numpy(), strict=True):
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, shown.transpose(1, 2, 0))


def test_vectors_are_drawn_as_bars(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 2, render_mode="rgb_array", termination=None)
    dream.reset(seed=0)
    before = dream.render()
    dream.step(np.ones(2, int))
    after = dream.render()
    assert before is not None
    assert after is not None
    assert before[0].shape == (300, 400, 3)
    assert not np.array_equal(before[0], after[0])
    assert DreamVectorEnv(agent, 2).render() is None
