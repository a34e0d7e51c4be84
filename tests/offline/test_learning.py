"""Learning from recordings: the replay holds what was recorded, and no environment is asked."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import DreamerV1, DreamerV2, DreamerV3, PlaNet
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.analysis.open_loop import OpenLoop, open_loop_at
from dreamzoo.envs import DreamEnv
from dreamzoo.offline import Episode, Recording, StoredEpisodes, held_out_errors, read_minari

CART_POLE = gym.make("CartPole-v1")
BOX, TWO = CART_POLE.observation_space, CART_POLE.action_space
SMALL: dict[str, Any] = {**DreamerV3.smallest, "seed": 0}


def cart_pole(n: int, seed: int = 0) -> Recording:
    """Episodes of random play, no two alike."""
    env = gym.make("CartPole-v1")
    env.action_space.seed(seed)
    found = []
    for i in range(n):
        seen, actions, over = [env.reset(seed=seed + i)[0]], [], False
        while not over:
            actions.append(env.action_space.sample())
            obs, _, over, _, _ = env.step(actions[-1])
            seen.append(obs)
        found.append(Episode(np.stack(seen), np.array(actions), np.ones(len(actions)), True))
    return Recording(BOX, TWO, found)


def test_the_replay_holds_what_the_agent_itself_would_have_stored() -> None:
    class Same(gym.Env[Any, Any]):
        """Plays a recording to an agent, whatever that one does."""

        observation_space, action_space = BOX, TWO

        def __init__(self, recording: Recording) -> None:
            self.episodes, self.steps = iter(recording), 0

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.episode, self.steps = next(self.episodes), 0
            return self.episode.observations[0], {}

        def step(self, action: Any) -> Any:
            reward = self.episode.rewards[self.steps]
            self.steps += 1
            over = self.steps == self.episode.steps
            ends = over and self.episode.terminated, over and not self.episode.terminated
            return self.episode.observations[self.steps], reward, *ends, {}

    recording = cart_pole(5)
    recording = Recording(
        BOX, TWO, [e._replace(terminated=i != 1) for i, e in enumerate(recording)]
    )
    steps = sum(e.steps for e in recording[:4])
    played = DreamerV3("MlpPolicy", Same(recording), learning_starts=10**6, **SMALL).learn(steps)
    fitted = DreamerV3("MlpPolicy", recording.env(), **SMALL).fit_replay(recording[:4])
    assert played.replay_buffer is not None
    assert fitted.replay_buffer is not None
    expected, found = played.replay_buffer.stored(), fitted.replay_buffer.stored()
    assert expected.keys() == found.keys()
    for name in ("observations", "rewards", "dones", "timeouts", "episode_starts"):
        np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
    acted = np.concatenate([np.append(e.actions, 0) for e in recording[:4]])
    np.testing.assert_array_equal(np.asarray(found["actions"])[:, 0, 0], acted)


def test_windows_of_a_recording_are_drawn_alike_and_begin_without_latents() -> None:
    """They were queued as new ones, in the order of the file, and began in a latent of zeros."""
    recording = cart_pole(60)
    settings = {**SMALL, "batch_size": 16, "batch_length": 8}
    agent = DreamerV3("MlpPolicy", recording.env(), **settings)
    agent.fit_replay(recording)
    replay: Any = agent.replay_buffer
    starts = np.concatenate([replay.sample(16).windows.start for _ in range(8)])
    assert (np.diff(starts) < 0).mean() > 0.3
    assert starts.max() > 0.8 * replay.size()

    batch = replay.sample(16)
    inside = batch._replace(is_first=th.zeros_like(batch.is_first))
    begun = batch._replace(is_first=th.arange(8).eq(0).expand(16, 8))
    within = ~batch.is_first[:, 0]
    assert within.sum() > 8
    assert not any(part[within].any() for part in agent.start_latent(batch))
    found = [agent.observe_batch(x, th.Generator().manual_seed(0)).latent for x in (inside, begun)]
    for one, other in zip(*found, strict=True):
        assert th.equal(one[within], other[within])
    agent.learn_offline(20)
    latents = [agent.start_latent(replay.sample(16)) for _ in range(8)]
    assert sum(bool(part.deter.isfinite().all()) for part in latents) == 8
    assert any(part.deter.any() for part in latents)


def test_what_an_agent_does_after_a_recording_is_queued_and_known() -> None:
    recording = cart_pole(10)
    agent = DreamerV3("MlpPolicy", recording.env(), learning_starts=10**6, **SMALL)
    agent.fit_replay(recording)
    before = int(agent.replay_buffer.size())  # type: ignore[union-attr]
    agent.set_env(make_vec_env("CartPole-v1", n_envs=1))
    agent.learn(200)
    replay: Any = agent.replay_buffer
    assert np.isnan(replay.latents["deter"][: before - 1, 0]).any(-1).sum() > before // 2
    assert np.isfinite(replay.latents["deter"][before : replay.size()]).all()
    assert replay.sample(3).windows.start.min() >= before - agent.batch_length


def test_images_have_their_channels_where_the_agent_has_them() -> None:
    env = FakeImageEnv(screen_height=64, screen_width=64, n_channels=3, discrete=False)
    images = np.stack([env.observation_space.sample() for _ in range(5)])
    actions = np.array([[0.5], [1.0], [-1.0], [0.0]]).repeat(5, axis=1)
    episode = Episode(images, actions, np.zeros(4), False)
    recording = Recording(env.observation_space, env.action_space, [episode])
    model = DreamerV3("CnnPolicy", recording.env(), **SMALL).fit_replay(recording)
    assert model.replay_buffer is not None
    stored = model.replay_buffer.stored()
    expected = images.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(np.asarray(stored["observations"])[:, 0], expected)
    assert np.asarray(stored["actions"])[:, 0, 0].tolist() == [0.5, 1.0, -1.0, 0.0, 0.0]
    batch = model.read_episode(recording, 0)
    assert th.equal(batch.observations[0].cpu(), th.as_tensor(expected))  # type: ignore[index]


@pytest.mark.parametrize("agent", [DreamerV1, DreamerV2, DreamerV3, PlaNet])
def test_agents_learn_without_an_environment(agent: Any) -> None:
    box = spaces.Box(-2, 2, (1,), np.float32)
    rng = np.random.default_rng(0)
    played = [
        Episode(rng.normal(size=(13, 3)), rng.uniform(-2, 2, (12, 1)), rng.normal(size=12), False)
        for _ in range(6)
    ]
    recording = Recording(spaces.Box(-9, 9, (3,)), box, played)
    model = agent("MlpPolicy", recording.env(), **{**agent.smallest, "seed": 0})
    before = {name: x.clone() for name, x in model.policy.state_dict().items()}
    seen = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.append((self.num_timesteps, self.model._current_progress_remaining))
            return len(seen) < 5

    model.fit_replay(recording).learn_offline(10, callback=Look(), log_interval=2)
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
    assert [left for _, left in seen] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert model._n_updates == 5
    after = model.policy.state_dict()
    assert any(not th.equal(x, after[name]) for name, x in before.items())
    assert model.learn_offline(3, reset_num_timesteps=False).num_timesteps == 8
    with pytest.raises(RuntimeError, match="learn_offline"):
        model.learn(10)


@pytest.mark.parametrize("log_interval", [1, 3, 100])
def test_schedules_move_with_every_update_whenever_it_is_logged(log_interval: int) -> None:
    recording, seen = cart_pole(4), []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(self.model.policy.optimizer.param_groups[0]["lr"])
            return True

    model = DreamerV3("MlpPolicy", recording.env(), learning_rate=lambda p: 1e-3 * p, **SMALL)
    model.fit_replay(recording)
    for _ in range(2):  # the second call does not begin where the first one has ended
        model.learn_offline(4, callback=Look(), log_interval=log_interval)
        assert seen == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
        seen.clear()
    model.learn_offline(4, callback=Look(), log_interval=log_interval, reset_num_timesteps=False)
    assert seen == pytest.approx([5e-4, 3.75e-4, 2.5e-4, 1.25e-4])


def test_it_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    recording = cart_pole(8)

    def made() -> DreamerV3:
        return DreamerV3("MlpPolicy", recording.env(), **SMALL).fit_replay(recording)

    whole = made().learn_offline(6)
    half = made().learn_offline(3)
    half.save(tmp_path / "half")
    half.save_replay_buffer(tmp_path / "replay")
    again = DreamerV3.load(tmp_path / "half", env=recording.env())
    again.load_replay_buffer(tmp_path / "replay")
    again.learn_offline(3, reset_num_timesteps=False)
    assert again.num_timesteps == 6
    expected, found = whole.policy.state_dict(), again.policy.state_dict()
    assert all(th.equal(x, found[name]) for name, x in expected.items())


def test_it_is_saved_on_the_way_and_goes_on_from_there(tmp_path: Path) -> None:
    recording = cart_pole(8)

    def made() -> DreamerV3:
        return DreamerV3("MlpPolicy", recording.env(), **SMALL).fit_replay(recording)

    class Stumble(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 5:
                raise InterruptedError
            return True

    whole = made().learn_offline(6)
    callbacks = [SaveCallback(tmp_path, every=2), Stumble()]
    with pytest.raises(InterruptedError):
        made().learn_offline(6, callback=callbacks, log_interval=2)
    again = DreamerV3.load(tmp_path, env=recording.env())
    again.resume(tmp_path)
    assert again.num_timesteps == 4
    again.learn_offline(2, reset_num_timesteps=False)
    expected, found = whole.policy.state_dict(), again.policy.state_dict()
    assert all(th.equal(x, found[name]) for name, x in expected.items())


def test_it_is_evaluated_in_an_environment_that_there_is(tmp_path: Path) -> None:
    recording = cart_pole(8)
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL).fit_replay(recording)
    real = make_vec_env("CartPole-v1")
    look = EvalCallback(
        real, eval_freq=2, n_eval_episodes=1, log_path=str(tmp_path), verbose=0, warn=False
    )
    model.learn_offline(4, callback=look)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [2, 4]
    model.set_env(real)
    assert model.learn(20, reset_num_timesteps=True).num_timesteps == 20


def test_what_does_not_fit_is_refused_and_nothing_is_stored() -> None:
    recording = cart_pole(4)
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL, buffer_size=recording.steps + 3)
    with pytest.raises(ValueError, match=r"replay has room for .* larger buffer_size"):
        model.fit_replay(recording)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.fit_replay(Recording(spaces.Box(-1, 1, (3,)), TWO, list(recording)))
    with pytest.raises(ValueError, match="fit_replay"):
        model.learn_offline(3)
    with pytest.raises(ValueError, match=r"updates=0"):
        model.learn_offline(0)
    several = DreamerV3("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2), **SMALL)
    with pytest.raises(ValueError, match="has 2 environments"):
        several.fit_replay(recording)
    normalized = DreamerV3("MlpPolicy", VecNormalize(make_vec_env("CartPole-v1")), **SMALL)
    with pytest.raises(ValueError, match="has a VecNormalize"):
        normalized.fit_replay(recording)
    for agent in (model, several, normalized):
        assert agent.replay_buffer is not None
        assert agent.replay_buffer.size() == 0


@pytest.mark.parametrize("part", ["observations", "actions", "rewards"])
def test_values_that_cannot_be_are_refused(part: str) -> None:
    (episode,) = cart_pole(1)
    values = getattr(episode, part).copy()
    values[2] = 7 if part == "actions" else np.nan
    wrong = Recording(BOX, TWO, [episode._replace(**{part: values})])
    with pytest.raises(ValueError, match=r"NaN|are not all in Discrete\(2\)"):
        DreamerV3("MlpPolicy", wrong.env(), **SMALL).fit_replay(wrong)


def test_nothing_of_a_wrong_episode_is_stored_and_it_is_named() -> None:
    episodes = list(cart_pole(4))
    rewards = episodes[2].rewards.copy()
    rewards[7] = np.nan
    episodes[2] = episodes[2]._replace(rewards=rewards)
    recording = Recording(BOX, TWO, episodes)[1:]
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL)
    said = r"Episode 2 of the recording, step 7: Reward with NaN or infinity: nan at \(0,\)"
    with pytest.raises(ValueError, match=said):
        model.fit_replay(recording)
    assert model.replay_buffer is not None
    assert model.replay_buffer.size() == episodes[1].steps + 1
    with pytest.raises(ValueError, match=said):
        model.read_episode(recording, 1)


@pytest.mark.slow
def test_what_is_learned_holds_for_episodes_that_were_held_out() -> None:
    training, held_out = cart_pole(120).split(0.9)
    size: dict[str, Any] = dict(policy_kwargs=dict(size="1m"), batch_size=8, batch_length=16)
    model = DreamerV3("MlpPolicy", training.env(), learning_rate=1e-3, seed=0, **size)
    before = held_out_errors(model, held_out, length=12)
    model.fit_replay(training).learn_offline(600)
    after = held_out_errors(model, held_out, length=12)
    assert [e.horizon for e in after] == [e.horizon for e in before] == list(range(1, 8))
    at = 4  # five steps ahead
    key = "observation"
    assert after[at].predicted[key] < 0.5 * before[at].predicted[key]
    assert after[at].predicted[key] < after[at].unchanged[key]


def test_agents_learn_in_the_dream_of_a_recording_which_can_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = cart_pole(8)
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL).fit_replay(recording).learn_offline(2)
    ppo = PPO("MlpPolicy", model.dream_env(2), n_steps=8, batch_size=8).learn(16)
    assert ppo.num_timesteps == 16
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    collector = minari.DataCollector(DreamEnv(model, horizon=5))
    for seed in range(3):
        collector.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, _ = collector.step(collector.action_space.sample())
            over = terminated or truncated
    dreamed = read_minari(collector.create_dataset("dreams/cart-pole-v0"))
    assert len(dreamed) == 3
    again = DreamerV3("MlpPolicy", dreamed.env(), **SMALL).fit_replay(dreamed).learn_offline(1)
    assert again._n_updates == 1


class Counted(StoredEpisodes):
    """Episodes that count how often each is read, and say how long they are."""

    def __init__(self, recording: Recording) -> None:
        self.episodes, self.reads = list(recording), [0] * len(recording)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: Any) -> Any:
        self.reads[index] += 1
        return self.episodes[index]

    def length(self, index: int) -> int:
        return self.episodes[index].steps


def test_every_episode_is_read_once_and_of_those_held_out_what_is_drawn_from() -> None:
    kept = Counted(cart_pole(40))
    recording = Recording(BOX, TWO, kept)
    assert recording.steps == sum(e.steps for e in kept.episodes)
    assert kept.reads == [0] * 40
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL).fit_replay(recording)
    assert kept.reads == [1] * 40
    kept.reads = [0] * 40
    _, held_out = recording.split(0.5)
    held_out_errors(model, held_out, length=10, sequences=5)
    assert max(kept.reads) == 1
    assert 1 <= sum(kept.reads) <= 5
    read = {i for i, reads in enumerate(kept.reads) if reads}
    assert read <= set(held_out._chosen)


@pytest.mark.parametrize("several", [False, True])
def test_an_episode_is_read_as_the_replay_would_give_it(several: bool) -> None:
    (episode,) = cart_pole(1)
    episode = episode._replace(rewards=np.arange(episode.steps) + 0.5)
    space: spaces.Space[Any] = BOX
    if several:
        space = spaces.Dict(state=BOX, on=spaces.Discrete(99))
        seen = {"state": episode.observations, "on": np.arange(episode.steps + 1)}
        episode = episode._replace(observations=seen)
    recording = Recording(space, TWO, [episode, episode._replace(terminated=False)])
    policy = "MultiInputPolicy" if several else "MlpPolicy"
    model = DreamerV3(policy, recording.env(), **SMALL)
    for index, is_terminal in enumerate([True, False]):
        batch = model.read_episode(recording, index)
        steps = np.arange(episode.steps + 1)
        found = batch.observations
        if isinstance(found, dict):
            assert found["on"].flatten().tolist() == steps.tolist()
            found = found["state"]
        raw = episode.observations["state"] if several else episode.observations
        np.testing.assert_array_equal(found[0].cpu().numpy(), raw)
        assert batch.rewards[0].tolist() == [0.0, *episode.rewards]
        assert batch.actions[0, :, 0].tolist() == [0.0, *episode.actions]
        assert batch.is_first[0].tolist() == (steps == 0).tolist()
        assert batch.is_last[0].tolist() == (steps == episode.steps).tolist()
        assert batch.is_terminal[0, -1].item() == is_terminal


def test_a_model_sees_an_episode_from_its_beginning_and_nothing_behind_the_moment() -> None:
    recording = cart_pole(1)
    (episode,) = recording
    # Its states are not of classes, which a small change may leave as they are.
    model = DreamerV1("MlpPolicy", recording.env(), **DreamerV1.smallest)
    moments = th.tensor([4, episode.steps - 2])

    def look(played: Episode) -> OpenLoop:
        batch = model.read_episode(Recording(BOX, TWO, [played]), 0)
        generator = th.Generator(device=model.device).manual_seed(0)
        shown, over = open_loop_at(model.policy, batch, moments, 5, generator)
        assert over.tolist() == [[False] * 6, [False] * 3 + [True] * 3]
        return shown

    shown = look(episode)
    assert isinstance(shown.truth, th.Tensor)
    assert isinstance(shown.prediction, th.Tensor)
    np.testing.assert_array_equal(shown.truth[0].cpu().numpy(), episode.observations[4:10])
    np.testing.assert_array_equal(shown.truth[1, :3].cpu().numpy(), episode.observations[-3:])
    first, later = episode.observations.copy(), episode.observations.copy()
    first[0] += 1.0
    later[5:] += 1.0
    changed = look(episode._replace(observations=first)).prediction
    assert isinstance(changed, th.Tensor)
    assert not th.equal(changed[0], shown.prediction[0])
    changed = look(episode._replace(observations=later)).prediction
    assert isinstance(changed, th.Tensor)
    assert th.equal(changed[0], shown.prediction[0])
    acted = episode.actions.copy()
    acted[6] = 1 - acted[6]  # the third one behind the moment
    changed = look(episode._replace(actions=acted)).prediction
    assert isinstance(changed, th.Tensor)
    assert th.equal(changed[0, :3], shown.prediction[0, :3])
    assert not th.equal(changed[0, 3], shown.prediction[0, 3])


def test_errors_are_those_behind_enough_observations() -> None:
    recording = cart_pole(12)
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL)
    longest = int(recording.lengths.max())
    errors = held_out_errors(model, recording, length=longest + 9, context=5, sequences=2_000)
    assert [e.horizon for e in errors] == list(range(1, longest - 5 + 2))
    shares = [e.sequences / 2_000 for e in errors]
    starts = np.maximum(recording.lengths - 4, 0)
    for horizon in (1, 5, 15):
        left = np.maximum(starts - horizon + 1, 0).sum() / starts.sum()
        assert shares[horizon - 1] == pytest.approx(left, abs=0.05)
    with pytest.raises(ValueError, match=r"No episode of the recording goes on after context=99 "):
        held_out_errors(model, recording, length=100, context=99)
    with pytest.raises(ValueError, match=r"context=7 must be at least 1 and less than length=7"):
        held_out_errors(model, recording, length=7, context=7)


def test_lengths_that_are_wrong_are_named() -> None:
    class Wrong(Counted):
        def length(self, index: int) -> int:
            return super().length(index) + (index == 2)

    recording = Recording(BOX, TWO, Wrong(cart_pole(4)))
    model = DreamerV3("MlpPolicy", recording.env(), **SMALL)
    with pytest.raises(ValueError, match=r"Episode 2 .* has \d+ steps, and was said to have"):
        model.fit_replay(recording)
