"""Memory, dtypes, tiny sizes and pickles of the replay."""

import io
import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.common.buffers import SequenceReplayBuffer

MakeBuffer = Callable[..., SequenceReplayBuffer]
Fill = Callable[..., list[list[Any]]]

IMAGE = spaces.Box(0, 255, (3, 16, 16), np.uint8)
DICT = spaces.Dict(
    {"image": IMAGE, "speed": spaces.Box(-np.inf, np.inf, (2,)), "item": spaces.Discrete(5)}
)


def _add(buffer: SequenceReplayBuffer, done: bool = False, timeout: bool = False) -> Any:
    """Add one random step and return its observation."""
    space, n = buffer.observation_space, buffer.n_envs
    samples = [space.sample() for _ in range(n)]
    obs: Any = (
        np.stack(samples)
        if not isinstance(space, spaces.Dict)
        else {k: np.stack([s[k] for s in samples]) for k in space.spaces}
    )
    action = np.stack([buffer.action_space.sample() for _ in range(n)])
    infos: list[dict[str, Any]] = [{"TimeLimit.truncated": timeout}] * n
    buffer.add(obs, obs, action, np.ones(n), np.full(n, done), infos)
    return obs


def test_images_stay_bytes_from_the_environment_to_the_batch(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(20, 2, 4, observation_space=IMAGE)
    stored = [_add(buffer) for _ in range(10)]
    assert isinstance(buffer.observations, np.ndarray)
    assert buffer.observations.dtype == np.uint8
    batch = buffer.sample(8)
    assert isinstance(batch.observations, th.Tensor)
    assert batch.observations.dtype == th.uint8
    assert batch.observations.shape == (8, 4, 3, 16, 16)
    for b, (env, start) in enumerate(zip(*batch.windows, strict=True)):
        for t in range(4):
            assert (batch.observations[b, t].numpy() == stored[start + t][env]).all()


def test_every_observation_is_stored_once(make_buffer: MakeBuffer) -> None:
    """The terminal observation is a record of its own, not a second array of observations."""
    buffer = make_buffer(1000, 1, 4, latents=False, observation_space=IMAGE)
    pixels = 1000 * 3 * 16 * 16
    assert pixels < buffer.nbytes() < 1.05 * pixels
    assert buffer.nbytes(10) == buffer.nbytes() // 100
    assert sum(a.nbytes for a in buffer._arrays.values()) == buffer.nbytes()
    assert np.shares_memory(buffer.observations, buffer._arrays["observations"])


@pytest.mark.parametrize("n_envs", [1, 3])
def test_dict_observations_keep_their_keys_and_dtypes(make_buffer: MakeBuffer, n_envs: int) -> None:
    buffer = make_buffer(30, n_envs, 4, observation_space=DICT)
    for i in range(25):
        _add(buffer, done=i % 6 == 5)
    batch = buffer.sample(8)
    assert isinstance(batch.observations, dict)
    shapes = {k: (tuple(v.shape), v.dtype) for k, v in batch.observations.items()}
    assert shapes["image"] == ((8, 4, 3, 16, 16), th.uint8)
    assert shapes["speed"] == ((8, 4, 2), th.float32)
    assert shapes["item"] == ((8, 4, 1), th.int64)


@pytest.mark.parametrize(
    ("space", "dtype", "dims"),
    [
        (spaces.Discrete(4), th.int64, 1),
        (spaces.MultiDiscrete([3, 4]), th.int64, 2),
        (spaces.MultiBinary(3), th.int8, 3),
        (spaces.Box(-1, 1, (2,), np.float64), th.float32, 2),
    ],
)
def test_actions_keep_their_dtype(
    make_buffer: MakeBuffer, space: spaces.Space, dtype: th.dtype, dims: int
) -> None:
    buffer = make_buffer(30, 2, 4, action_space=space)
    for _ in range(12):
        _add(buffer)
    batch = buffer.sample(3)
    assert batch.actions.dtype == dtype
    assert batch.actions.shape == (3, 4, dims)


@pytest.mark.parametrize("latents", [False, True])
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_buffer_of_one_record_for_each_environment_works(
    make_buffer: MakeBuffer, fill: Fill, latents: bool, n_envs: int, steps: int
) -> None:
    buffer = make_buffer(1, n_envs, 8, latents)
    fill(buffer, steps, lengths=[2] * n_envs)
    batch = buffer.sample(5)
    assert batch.rewards.shape == (5, 1)
    assert batch.is_first.all()
    assert not batch.actions.any()


@pytest.mark.parametrize("latents", [False, True])
def test_short_streams_give_shorter_windows(
    make_buffer: MakeBuffer, fill: Fill, latents: bool
) -> None:
    buffer = make_buffer(100, 2, 64, latents)
    with pytest.raises(ValueError, match="replay buffer is empty"):
        buffer.sample(4)
    fill(buffer, 3)
    batch = buffer.sample(4)
    assert batch.rewards.shape == (4, 2 if latents else 3)
    assert (batch.observations[..., 0].diff(dim=1) == 1).all()  # type: ignore[index]
    assert buffer.sample(4, batch_length=2).rewards.shape == (4, 2)
    assert buffer.n_windows() == 0


def test_more_environments_than_records(make_buffer: MakeBuffer) -> None:
    space = spaces.Box(-1, 1, (1,))
    buffer = SequenceReplayBuffer(1, space, space, device="cpu", n_envs=3)
    for _ in range(3):
        _add(buffer)
    assert buffer.size() == 1
    assert buffer.sample(2).rewards.shape == (2, 1)


@pytest.mark.parametrize("wrong", [{"buffer_size": 0}, {"batch_length": 0}])
def test_sizes_below_one_are_refused(wrong: dict[str, int]) -> None:
    space = spaces.Box(-1, 1, (1,))
    arguments: dict[str, Any] = {"buffer_size": 10, **wrong}
    with pytest.raises(ValueError, match="must be at least 1"):
        SequenceReplayBuffer(observation_space=space, action_space=space, **arguments)


@pytest.mark.parametrize("records", [10**13, 10**17])
def test_too_large_buffers_say_what_to_change(make_buffer: MakeBuffer, records: int) -> None:
    with pytest.raises(MemoryError, match=r"GB, which does not fit.*Lower buffer_size"):
        make_buffer(records, observation_space=IMAGE)


def test_a_replay_takes_memory_as_it_fills(make_buffer: MakeBuffer, beyond_memory: int) -> None:
    buffer = make_buffer(beyond_memory // np.prod(IMAGE.shape), observation_space=IMAGE)
    for _ in range(8):
        _add(buffer)
    assert buffer.sample(4, batch_length=2).rewards.shape == (4, 2)
    assert buffer.size() == 8
    with pytest.raises(MemoryError, match="Lower buffer_size"):
        buffer.check_memory(buffer.buffer_size)


def test_a_run_that_cannot_fit_is_refused_before_it_starts(
    make_buffer: MakeBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = make_buffer(10_000, observation_space=IMAGE)
    monkeypatch.setattr("dreamzoo.common.replay_storage.physical_memory", lambda: 10**6)
    buffer.check_memory(1000)
    with pytest.raises(MemoryError, match="Lower buffer_size"):
        buffer.check_memory(2000)


# ---------------------------------------------------------------- SB3's view


def test_sb3_names_are_views_of_the_storage(make_buffer: MakeBuffer, fill: Fill) -> None:
    buffer = make_buffer(30, 2, 4)
    fill(buffer, 12, lengths=[5, None], timeout=True)
    assert buffer.observations.shape == (30, 2, 1)
    assert buffer.dones[5, 0]
    assert buffer.timeouts[5, 0]
    assert not buffer.dones[:, 1].any()
    assert buffer.episode_starts[[0, 6], 0].all()
    assert buffer.pos == 14
    assert not buffer.full
    assert buffer.size() == 12


def test_extend_adds_row_by_row(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(30, 1, 4)
    column = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    buffer.extend(column, column + 1, column, np.ones((5, 1)), np.zeros((5, 1), bool), [[{}]] * 5)
    assert buffer.size() == 5
    assert buffer.rewards[:5, 0].tolist() == [0, 1, 1, 1, 1]


# ---------------------------------------------------------------- pickles


def _equal(one: SequenceReplayBuffer, other: SequenceReplayBuffer) -> bool:
    arrays = all(np.array_equal(one._arrays[k], other._arrays[k]) for k in one._arrays)
    return arrays and one._count.tolist() == other._count.tolist() and one.pos == other.pos


@pytest.mark.parametrize("steps", [0, 7, 55])
@pytest.mark.parametrize("copy", [deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_copies_are_equal_and_go_on_equally(
    make_buffer: MakeBuffer, fill: Fill, steps: int, copy: Callable[[Any], Any]
) -> None:
    buffer = make_buffer(20, 2, 4)
    fill(buffer, steps, lengths=[5, None])
    other = copy(buffer)
    assert _equal(buffer, other)
    assert other.actions.shape == (20, 2, 1)
    for b in (buffer, other):
        fill(b, 9)
    assert _equal(buffer, other)
    one, two = buffer.sample(8), other.sample(8)
    assert th.equal(one.observations, two.observations)  # type: ignore[arg-type]
    assert one.windows.start.tolist() == two.windows.start.tolist()
    buffer.rewards[:] = -7
    assert not (other.rewards == -7).any()


def test_pickle_holds_only_what_was_written(make_buffer: MakeBuffer) -> None:
    """SB3 pickles the whole array: 12 GB of zeros for a million images."""
    buffer = make_buffer(100_000, 1, 4, observation_space=IMAGE)
    for _ in range(50):
        _add(buffer)
    file = io.BytesIO()
    pickle.dump(buffer, file)
    assert len(file.getvalue()) < 1.2 * buffer.nbytes(50) + 20_000
    assert _equal(buffer, pickle.loads(file.getvalue()))


def test_a_reloaded_buffer_still_has_its_queue_and_pending_reward(
    make_buffer: MakeBuffer, fill: Fill
) -> None:
    buffer = make_buffer(50, 1, 4)
    fill(buffer, 12)
    other = pickle.loads(pickle.dumps(buffer))
    assert other._online == buffer._online
    assert len(other._online) == 2
    column = np.zeros((1, 1), np.float32)
    for b in (buffer, other):
        b.add(column, column, column, np.zeros(1), np.zeros(1, bool), [{}])
    assert other.rewards[12, 0] == buffer.rewards[12, 0] == 12.5
