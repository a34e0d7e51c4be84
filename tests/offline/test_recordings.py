"""Recordings: what is read of Minari, npz files and SB3's buffers is what was recorded."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.offline import (
    Episode,
    Recording,
    read_minari,
    read_npz,
    read_replay_buffer,
    replay_buffer,
    write_npz,
)

BOX, TWO = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)
#: Every space that numbers are recorded of.
ARM = spaces.Dict(position=spaces.Box(-2, 2, (2, 2)), on=spaces.MultiBinary(2))
POSE = spaces.Tuple([spaces.Discrete(4, start=-1), spaces.MultiDiscrete([2, 3])])
NESTED = spaces.Dict(arm=ARM, pose=POSE, camera=spaces.Box(0, 255, (8, 8, 3), np.uint8))


class Sampled(gym.Env[Any, Any]):
    """Whatever its spaces contain; episodes are of different lengths, every third is cut."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observations, actions
        self.episodes, self.steps = 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.episodes, self.steps = self.episodes + 1, 0
        self.observation_space.seed(self.episodes)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        over, cut = self.steps == 2 + self.episodes, self.episodes % 3 == 0
        terminated, truncated = over and not cut, over and cut
        return self.observation_space.sample(), float(self.steps), terminated, truncated, {}


def episodes(n: int = 5) -> list[Episode]:
    rng = np.random.default_rng(0)
    return [
        Episode(
            rng.uniform(-1, 1, (i + 4, 3)),
            rng.integers(2, size=i + 3),
            rng.random(i + 3),
            bool(i % 2),
        )
        for i in range(n)
    ]


def same(some: Any, others: Any) -> bool:
    if isinstance(some, dict):
        return some.keys() == others.keys() and all(same(some[k], others[k]) for k in some)
    return np.array_equal(some, others)


def test_parts_of_a_recording_share_no_episode() -> None:
    whole = Recording(BOX, TWO, episodes(10))
    for share, expected in ((0.75, 8), (0.001, 1), (0.999, 9)):
        first, second = whole.split(share, seed=3)
        assert (len(first), len(second)) == (expected, 10 - expected)
        lengths = sorted(e.steps for part in (first, second) for e in part)
        assert lengths == list(range(3, 13))
    again, other = whole.split(0.5, seed=3)[0], whole.split(0.5, seed=4)[0]
    assert [e.steps for e in again] == [e.steps for e in whole.split(0.5, seed=3)[0]]
    assert [e.steps for e in again] != [e.steps for e in other]
    assert [e.steps for e in whole[2:4]] == [5, 6]
    assert whole.steps == sum(range(3, 13))
    assert whole.returns == pytest.approx([e.rewards.sum() for e in episodes(10)])


def test_what_is_no_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="no episodes in the recording"):
        Recording(BOX, TWO, [])
    with pytest.raises(ValueError, match=r"share=1\.5 of 5 episodes"):
        Recording(BOX, TWO, episodes()).split(1.5)
    with pytest.raises(ValueError, match=r"of 1 episodes"):
        Recording(BOX, TWO, episodes(1)).split(0.5)
    short = episodes(3)
    short[1] = short[1]._replace(actions=short[1].actions[:-1])
    with pytest.raises(ValueError, match=r"Episode 1 of the recording has 3 actions, 4 rewards"):
        list(Recording(BOX, TWO, short))
    with pytest.raises(RuntimeError, match="learn_offline"):
        Recording(BOX, TWO, episodes()).env().reset()


@pytest.mark.parametrize("observations", [BOX, spaces.Dict(a=BOX, b=spaces.Discrete(3))])
def test_npz_files_hold_what_was_written(tmp_path: Path, observations: Any) -> None:
    written = episodes()
    if isinstance(observations, spaces.Dict):
        written = [
            e._replace(observations={"a": e.observations, "b": np.arange(e.steps + 1) % 3})
            for e in written
        ]
    write_npz(Recording(observations, TWO, written), tmp_path)
    found = read_npz(tmp_path)
    assert found.lengths.tolist() == [3, 4, 5, 6, 7]
    assert (found.observation_space, found.action_space) == (observations, TWO)
    assert len(found) == 5
    for before, after in zip(written, found, strict=True):
        assert same(before.observations, after.observations)
        assert same(before.actions, after.actions)
        assert same(before.rewards, after.rewards)
        assert before.terminated == after.terminated
    with pytest.raises(FileExistsError, match="Nothing was written"):
        write_npz(found, tmp_path)


@pytest.mark.parametrize("end", ["is_terminal", "discount"])
def test_files_of_the_authors_are_read(tmp_path: Path, end: str) -> None:
    images = np.random.default_rng(0).integers(255, size=(4, 8, 8, 3)).astype(np.uint8)
    hot = np.eye(3)[[0, 2, 1, 0]]
    ends = {"is_terminal": [False, False, False, True], "discount": [1.0, 1.0, 1.0, 0.0]}
    beside = {"action": hot, "reward": np.arange(4.0), end: np.array(ends[end])}
    np.savez(tmp_path / "20260101T000000-3.npz", image=images, **beside)  # type: ignore[arg-type]
    image = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    for space, expected in ((image, images), (spaces.Dict(image=image), {"image": images})):
        recording = read_npz(tmp_path, space, spaces.Discrete(3))
        assert recording.lengths.tolist() == [3]
        (episode,) = recording
        assert same(episode.observations, expected)
        assert episode.actions.tolist() == [2, 1, 0]  # the first led to nothing
        assert episode.rewards.tolist() == [1.0, 2.0, 3.0]
        assert episode.terminated


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no npz files"):
        read_npz(tmp_path / "none")
    (tmp_path / "0.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="pass observation_space"):
        read_npz(tmp_path)
    with pytest.raises(ValueError, match=r"0\.npz holds no episode"):
        read_npz(tmp_path, BOX, TWO)[0]
    np.savez(tmp_path / "0.npz", observations=np.array([{"code": print}]), actions=np.zeros(1))
    with pytest.raises(ValueError, match=r"0\.npz holds no episode"):
        read_npz(tmp_path, BOX, TWO)[0]
    np.savez(tmp_path / "0.npz", actions=np.zeros(1))
    with pytest.raises(ValueError, match="no observations"):
        read_npz(tmp_path, BOX, TWO)[0]


def recorded(env: gym.Env[Any, Any], episodes: int, path: Path, monkeypatch: Any) -> Any:
    """Let Minari's own collector record random play."""
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(path))
    collector = minari.DataCollector(env)
    for seed in range(episodes):
        collector.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, _ = collector.step(collector.action_space.sample())
            over = terminated or truncated
    return collector.create_dataset(
        "test/random-v0",
        algorithm_name="random",
        code_permalink="x",
        author="x",
        author_email="x@x.org",
    )


@pytest.mark.parametrize("space", [NESTED, *POSE, *ARM.values(), NESTED["camera"]], ids=str)
def test_every_space_of_minari_is_read(
    space: spaces.Space[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = recorded(Sampled(space, spaces.Discrete(3)), 4, tmp_path, monkeypatch)
    for recording in (read_minari(dataset), read_minari("test/random-v0")):
        assert len(recording) == 4
        assert [e.steps for e in recording] == [3, 4, 5, 6]
        assert recording.lengths.tolist() == [3, 4, 5, 6]
        assert recording[1:3].lengths.tolist() == [4, 5]
        assert [e.terminated for e in recording] == [True, True, False, True]
        for episode in recording:
            assert episode.rewards.tolist() == list(range(1, episode.steps + 1))
            for step in range(episode.steps + 1):
                observed = episode.observations
                one = (
                    {k: part[step] for k, part in observed.items()}
                    if isinstance(observed, dict)
                    else observed[step]
                )
                assert recording.observation_space.contains(one)


def test_names_of_nested_parts_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = recorded(Sampled(NESTED, spaces.Discrete(3)), 2, tmp_path, monkeypatch)
    recording = read_minari(dataset)
    assert isinstance(recording.observation_space, spaces.Dict)
    names = {"arm.position", "arm.on", "pose.0", "pose.1", "camera"}
    assert set(recording.observation_space) == names
    raw = next(iter(dataset.iterate_episodes([1]))).observations
    assert same(recording[1].observations["arm.on"], raw["arm"]["on"])
    assert same(recording[1].observations["pose.0"], raw["pose"][0])


def test_spaces_without_numbers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = spaces.Dict(a=BOX, said=spaces.Text(5, min_length=5))
    dataset = recorded(Sampled(space, spaces.Discrete(3)), 1, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"the dataset test/random-v0 has a part 'said' of the"):
        read_minari(dataset)


@pytest.mark.parametrize("full", [False, True])
def test_buffers_of_sb3_hold_the_episodes_that_were_played(full: bool) -> None:
    size = 60 if full else 200
    env = make_vec_env("CartPole-v1", n_envs=2)
    model = DQN("MlpPolicy", env, buffer_size=size, learning_starts=10**6, train_freq=1).learn(100)
    buffer = model.replay_buffer
    assert isinstance(buffer, ReplayBuffer)
    recording = read_replay_buffer(buffer)
    assert recording.steps == (60 if full else 100)
    assert recording.lengths.tolist() == [e.steps for e in recording]
    for episode in recording:
        # CartPole is a function of state and action: what was read follows from itself.
        real: Any = gym.make("CartPole-v1").unwrapped
        for i, action in enumerate(episode.actions):
            real.reset()
            real.state = episode.observations[i].astype(np.float64)
            after, _, terminated, *_ = real.step(int(action))
            assert episode.observations[i + 1] == pytest.approx(after, abs=1e-4)
        assert episode.terminated == terminated


@pytest.mark.parametrize("full", [False, True])
def test_an_episode_ends_where_learning_began_again(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_buffer, "BLOCK", 4)
    space = spaces.Dict(other=BOX, same=spaces.Discrete(1))
    env = make_vec_env(lambda: Sampled(space, TWO), n_envs=2)
    size = 40 if full else 200
    model = DQN("MultiInputPolicy", env, buffer_size=size, learning_starts=10**6, train_freq=1)
    for _ in range(2):
        model.learn(34)
    assert model.replay_buffer is not None
    recording = read_replay_buffer(model.replay_buffer)
    # The fourth episode of each environment would have had 6 steps, and its third was cut.
    lengths, terminated = [3, 4, 5, 5, 7, 8, 2], [True, True, False, False, True, False, False]
    if full:
        lengths, terminated = [3, *lengths[4:]], terminated[3:]
    assert recording.lengths.tolist() == 2 * lengths
    assert [e.terminated for e in recording] == 2 * terminated
    for episode in recording:
        assert same(episode.rewards, np.arange(episode.steps) + episode.rewards[0])


def test_numbers_that_are_missing_cut_no_episode() -> None:
    buffer = ReplayBuffer(20, BOX, TWO, handle_timeout_termination=False)
    seen = np.full((1, *BOX.shape), np.nan, np.float32)
    for step in range(10):
        buffer.add(seen, seen, np.zeros((1, 1)), np.zeros(1), np.array([step == 9]), [{}])
    assert read_replay_buffer(buffer).lengths.tolist() == [10]


def test_actions_of_a_box_come_back_in_the_units_of_the_environment() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=10**6, seed=0).learn(30)
    assert model.replay_buffer is not None
    (episode,) = read_replay_buffer(model.replay_buffer)
    assert not episode.terminated
    real: Any = gym.make("Pendulum-v1").unwrapped
    for i, action in enumerate(episode.actions):
        assert real.action_space.contains(action)
        real.reset()
        cos, sin, speed = episode.observations[i].astype(np.float64)
        real.state = np.array([np.arctan2(sin, cos), speed])
        after, reward, *_ = real.step(action)
        assert episode.observations[i + 1] == pytest.approx(after, abs=1e-4)
        assert episode.rewards[i] == pytest.approx(reward, abs=1e-3)
    assert np.abs(episode.actions).max() > 1.0


def test_buffers_that_forget_last_observations_are_refused() -> None:
    kwargs = dict(handle_timeout_termination=False)
    model = DQN(
        "CnnPolicy",
        FakeImageEnv(discrete=True),
        buffer_size=50,
        optimize_memory_usage=True,
        replay_buffer_kwargs=kwargs,
        learning_starts=10**6,
    )
    assert model.replay_buffer is not None
    with pytest.raises(ValueError, match="optimize_memory_usage"):
        read_replay_buffer(model.replay_buffer)
    with pytest.raises(ValueError, match="SequenceReplayBuffer"):
        read_replay_buffer(SequenceReplayBuffer(10, BOX, TWO, "cpu"))
