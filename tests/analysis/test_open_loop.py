"""Open-loop predictions, dreams and their pictures."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamzoo import MERLIN, DreamerV3
from dreamzoo.analysis.callbacks import DreamVideoCallback
from dreamzoo.analysis.figures import image_frames, image_keys, vector_figure
from dreamzoo.analysis.open_loop import OpenLoop, open_loop, state_after
from dreamzoo.analysis.playing import play_sequences, predict_play
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.environments.normalizer import (
    NORMALIZER,
    as_in_training,
    load_normalizer,
    save_normalizer,
)
from dreamzoo.nn.state import select


class Moving(gym.Env):
    """A bright square that moves with the action; the position as a vector beside it."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
                "position": spaces.Box(0, 36, (1,), np.float32),
            }
        )
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.position, self.age = 16, 0
        return self.observe(), {}

    def step(self, action: int) -> tuple[dict, float, bool, bool, dict]:
        self.position = int(np.clip(self.position + 2 * int(action) - 1, 0, 31))
        self.age += 1
        return self.observe(), 1.0, False, self.age == 50, {}

    def observe(self) -> dict[str, np.ndarray]:
        image = np.zeros((36, 36, 3), np.uint8)
        image[10:15, self.position : self.position + 5] = 255
        return {"image": image, "position": np.array([self.position], np.float32)}


@pytest.fixture
def model() -> DreamerV3:
    """An untrained agent with some experience."""
    agent = DreamerV3(
        "MultiInputPolicy",
        make_vec_env(Moving, n_envs=2, seed=0),
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        buffer_size=1_000,
        gradient_steps=0,
        seed=0,
    )
    return agent.learn(200)


def sample(model: DreamerV3, rows: int = 3) -> SequenceBatch:
    assert model.replay_buffer is not None
    return model.replay_buffer.sample(rows, batch_length=12)


def test_open_loop_sees_the_context_and_nothing_after_it(model: DreamerV3) -> None:
    with th.no_grad():  # a fresh posterior hardly listens to what it sees
        model.policy.world_model.dynamics.post_logits.weight.mul_(30.0)
    batch = sample(model, rows=64)
    assert isinstance(batch.observations, dict)

    def predict(obs: dict[str, th.Tensor]) -> th.Tensor:
        generator = th.Generator().manual_seed(0)
        shown = open_loop(model.policy, batch._replace(observations=obs), 4, generator)
        assert isinstance(shown.prediction, dict)
        return shown.prediction["position"]

    base = predict(batch.observations)
    late = {k: v.clone() for k, v in batch.observations.items()}
    late["position"][:, 4:] = 36.0
    late["image"][:, 4:] = 255
    assert th.equal(predict(late), base)
    early = {k: v.clone() for k, v in batch.observations.items()}
    early["position"][:, :4] = 36.0
    early["image"][:, :4] = 255
    assert not th.equal(predict(early), base)


@pytest.mark.parametrize("step", [2, 4, 7, 11])
def test_open_loop_follows_the_action_that_led_to_each_step(model: DreamerV3, step: int) -> None:
    """Another action before a step changes this step and those after, and none before."""
    with th.no_grad():  # a fresh model hardly listens to what is done, and says zero of rewards
        model.policy.world_model.dynamics.core.action_in.linear.weight.mul_(30.0)
        th.nn.init.normal_(model.policy.world_model.reward.out.weight)
    batch = sample(model, rows=8)

    def predict(actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        generator = th.Generator().manual_seed(0)
        kept = batch._replace(actions=actions, is_first=th.zeros_like(batch.is_first))
        shown = open_loop(model.policy, kept, 4, generator)
        assert isinstance(shown.prediction, dict)
        return shown.prediction["position"], shown.reward[1]

    other = batch.actions.clone()
    other[:, step] = 1 - other[:, step]
    for one, two in zip(predict(other), predict(batch.actions), strict=True):
        changed = (one != two).transpose(0, 1).flatten(1).any(1)
        assert changed[step]
        assert not changed[:step].any()


def test_open_loop_goes_on_from_the_last_state_that_was_seen(model: DreamerV3) -> None:
    """Step by step, with the same random numbers."""
    with th.no_grad():  # a fresh model says zero of rewards
        th.nn.init.normal_(model.policy.world_model.reward.out.weight)
    policy, batch = model.policy, sample(model)
    shown = open_loop(policy, batch, 5, th.Generator().manual_seed(0))
    world, actions = policy.world_model, policy.action_codec.encode(batch.actions)
    assert isinstance(batch.observations, dict)
    first = batch.is_first.clone()
    first[:, 0] = True
    generator = th.Generator().manual_seed(0)
    with th.no_grad():
        obs = {key: value[:, :5] for key, value in batch.observations.items()}
        args = actions[:, :5], obs, first[:, :5], generator
        states = world.observe_sequence(world.initial(3), *args).latent
        latent = type(states)(*(part[:, 4] for part in states))
        for t in range(5, 12):
            latent = world.imagine_step(latent, actions[:, t], generator)
            expected = world.predict(latent)[0]
            assert expected.any()
            th.testing.assert_close(shown.reward[1, :, t], expected)


def test_open_loop_begins_in_the_states_that_it_is_given(model: DreamerV3) -> None:
    batch = sample(model)
    batch.is_first[:] = False
    batch.is_first[0, 0] = True
    state = model.start_latent(batch)

    def predict(begin: Any) -> th.Tensor:
        return open_loop(model.policy, batch, 4, th.Generator().manual_seed(0), begin).reward[1]

    with th.no_grad():  # a fresh model says zero of rewards
        th.nn.init.normal_(model.policy.world_model.reward.out.weight)
    changed = (predict(state) != predict(state._replace(deter=state.deter + 1.0))).any(1)
    assert changed.tolist() == [False, True, True]  # where an episode begins, nothing was before
    anew = predict(model.world_model.initial(3))
    assert not th.equal(anew, predict(state))
    batch.is_first[:, 0] = True
    assert th.equal(predict(None), predict(state))


def test_what_follows_a_sequence_begins_where_the_model_was_after_it(model: DreamerV3) -> None:
    batch = sample(model)
    found = state_after(
        model.policy, batch, model.start_latent(batch), th.Generator().manual_seed(1)
    )
    filtered = model.observe_batch(batch, th.Generator().manual_seed(1)).latent.detach()
    for part, states in zip(found, filtered, strict=True):
        th.testing.assert_close(part, states[:, -1])


def test_a_video_begins_in_the_latents_of_the_replay(model: DreamerV3) -> None:
    callback = DreamVideoCallback(n_sequences=4, length=10, context=3)
    callback.init_callback(model)
    with th.no_grad():
        th.nn.init.normal_(model.policy.world_model.reward.out.weight)
    shown = callback.look()
    assert model.replay_buffer is not None
    model.replay_buffer.latents["deter"][:] += 1.0
    assert not th.equal(callback.look().reward[1], shown.reward[1])


def test_true_rewards_are_normalized_where_the_expected_ones_are(tmp_path: Path) -> None:
    """Of a replay and of a play, with a live agent's statistics and with saved ones."""

    def make() -> VecEnv:
        return make_vec_env("CartPole-v1", n_envs=2, seed=0)

    env = VecNormalize(make())
    settings = dict(batch_size=2, batch_length=4, gradient_steps=0, learning_starts=0, seed=0)
    agent = DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug"), **settings)  # type: ignore[arg-type]
    agent.learn(60)
    env.ret_rms.var = np.float64(16.0)
    save_normalizer(env, tmp_path / NORMALIZER)
    agent.save(tmp_path / "model.zip")
    callback = DreamVideoCallback(n_sequences=2, length=5, context=2)
    callback.init_callback(agent)
    observed: Any = env.obs_rms
    count = observed.count
    known = load_normalizer(tmp_path / "model.zip")
    assert known is not None
    replayed = [callback.look(normalizer).reward[0] for normalizer in (None, known)]
    assert not known.norm_reward
    played = [play_sequences(agent, env, 5).rewards]
    loaded = DreamerV3.load(tmp_path / "model.zip")
    played.append(play_sequences(loaded, as_in_training(make(), tmp_path / "model.zip"), 5).rewards)
    for rewards in replayed + played:
        assert {0.25} <= set(rewards.unique().tolist()) <= {0.0, 0.25}
    assert observed.count == count


def test_a_long_play_is_predicted_with_all_that_came_before(model: DreamerV3) -> None:
    with th.no_grad():
        th.nn.init.normal_(model.policy.world_model.reward.out.weight)
    env = make_vec_env(Moving, n_envs=2)
    model.set_random_seed(7)
    shown, _ = predict_play(model, env, length=10, context=3, compared=4, shown=4, seed=5)

    model.set_random_seed(7)
    played = play_sequences(model, make_vec_env(Moving, n_envs=2), 20, seed=5)
    generator, envs = th.Generator().manual_seed(5), th.arange(2)
    one, two = (played.part(envs, th.full_like(envs, start), 10) for start in (0, 10))
    first = open_loop(model.policy, one, 3, generator)
    after = state_after(model.policy, one, model.world_model.initial(2), generator)
    then = open_loop(model.policy, two, 3, generator, after)
    expected = OpenLoop.joined([first, then]).reward
    assert th.equal(shown.reward, expected)


def test_open_loop_keeps_the_shape_and_dtype_of_observations(model: DreamerV3) -> None:
    batch = sample(model)
    shown = open_loop(model.policy, batch, 5)
    assert isinstance(shown.prediction, dict)
    assert isinstance(batch.observations, dict)
    for key, truth in batch.observations.items():
        assert shown.prediction[key].shape == truth.shape
        assert shown.prediction[key].dtype == truth.dtype
    assert shown.reward.shape == (2, 3, 12)


@pytest.mark.parametrize("context", [0, 12])
def test_open_loop_refuses_a_context_that_leaves_nothing(model: DreamerV3, context: int) -> None:
    with pytest.raises(ValueError, match="context"):
        open_loop(model.policy, sample(model), context)


def test_image_frames_show_truth_on_top_and_a_gray_error_where_there_is_none(
    model: DreamerV3,
) -> None:
    shown = open_loop(model.policy, sample(model), 5)
    perfect = shown._replace(prediction=shown.truth)
    (key,) = image_keys(model.policy.observation_codec)
    frames = image_frames(perfect, key)
    assert frames.shape == (12, 3, 3 * 36, 3 * 36)
    assert frames.dtype == np.uint8
    assert (frames[:, :, 72:] == 128).all()
    assert (frames[:5, :, :2] == 255).all()
    assert isinstance(shown.truth, dict)
    np.testing.assert_array_equal(
        frames[6, :, 2:36, :36], shown.truth["image"][0, 6, :, 2:].numpy()
    )


def test_vector_figure_draws_every_number_and_the_reward(model: DreamerV3) -> None:
    shown = open_loop(model.policy, sample(model), 5)
    figure = vector_figure(shown, model.policy.observation_codec)
    assert [axis.get_ylabel() for axis in figure.axes] == ["position[0]", "reward"]


def test_callback_logs_a_video_a_figure_and_an_error(model: DreamerV3, tmp_path: Path) -> None:
    model.set_logger(configure(str(tmp_path), ["tensorboard", "csv"]))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="DreamVideoCallback")
        model.learn(120, DreamVideoCallback(every=20, length=10, context=3), log_interval=1)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"dream/image", "dream/open_loop"} <= set(events.Tags()["images"])
    assert "dream/reward_error" in events.Tags()["scalars"]


def test_callback_changes_nothing_in_the_training() -> None:
    def train(callback: DreamVideoCallback | None) -> list[th.Tensor]:
        agent = DreamerV3(
            "MlpPolicy",
            make_vec_env("CartPole-v1", n_envs=2, seed=0),
            policy_kwargs=dict(size="debug"),
            batch_size=2,
            batch_length=8,
            horizon=2,
            learning_starts=40,
            train_ratio=8,
            seed=0,
        )
        agent.learn(80, callback)
        assert agent._n_updates > 10
        return list(agent.policy.parameters())

    plain = train(None)
    with pytest.warns(UserWarning, match="no log of this agent can show videos"):
        watched = train(DreamVideoCallback(every=10, length=10, context=3))
    assert all(th.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_callback_refuses_a_context_as_long_as_the_sequence() -> None:
    with pytest.raises(ValueError, match="context"):
        DreamVideoCallback(length=5, context=5)


def test_merlin_goes_on_with_its_memory_where_it_is_shown_no_more() -> None:
    """Its features are a part of its state, from which the rest cannot be told."""
    kwargs: dict[str, Any] = dict(policy_kwargs=dict(size="debug"), n_steps=8, seed=0, device="cpu")
    agent = MERLIN("MultiInputPolicy", make_vec_env(Moving, n_envs=2, seed=0), **kwargs).learn(16)
    batch = agent.recorded_sequences(np.random.default_rng(0))
    shown = open_loop(agent.policy, batch, 3, th.Generator().manual_seed(1))
    assert isinstance(batch.observations, dict)
    assert isinstance(shown.prediction, dict)

    model, generator = agent.policy.world_model, th.Generator().manual_seed(1)
    actions = agent.policy.action_codec.encode(batch.actions)
    rows, length = batch.is_first.shape
    is_first = batch.is_first.clone()
    is_first[:, 0] = True
    seen = (actions[:, :3], {k: x[:, :3] for k, x in batch.observations.items()}, is_first[:, :3])
    with th.no_grad():
        filtered = model.filter(model.initial(rows), *seen, generator)
        state = select(filtered, (slice(None), 2))
        assert length > 3
        for t in range(3, length):
            state = model.imagine_step(state, actions[:, t], generator)
            decoded = model.decode(state)
            assert isinstance(decoded, dict)
            for name, expected in decoded.items():
                th.testing.assert_close(shown.prediction[name][:, t], expected)
            th.testing.assert_close(shown.reward[1][:, t], model.predict(state)[0])
