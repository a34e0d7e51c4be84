"""What the replay stores, and which windows it gives out."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dreamzoo.common.buffers import SequenceBatch, SequenceReplayBuffer, Windows

MakeBuffer = Callable[..., SequenceReplayBuffer]
Fill = Callable[..., list[list[Any]]]


def _numbers(batch: SequenceBatch) -> th.Tensor:
    """Read which record every observation is, (B, T)."""
    assert isinstance(batch.observations, th.Tensor)
    return batch.observations[..., 0] % 1000


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("length", [1, 5, 19])
@pytest.mark.parametrize("steps", [20, 33, 87])
def test_windows_never_cross_the_write_head(
    make_buffer: MakeBuffer, fill: Fill, n_envs: int, length: int, steps: int
) -> None:
    buffer = make_buffer(20, n_envs, length)
    fill(buffer, steps)  # 33 wraps once, 87 four times
    batch = buffer.sample(256)
    numbers = _numbers(batch)
    assert numbers.shape == (256, length)
    assert (numbers.diff(dim=1) == 1).all()
    assert int(numbers.min()) >= max(steps - 20, 0) + 1  # the context record lies before it
    assert int(numbers.max()) <= steps - 1
    assert isinstance(batch.observations, th.Tensor)
    envs = (batch.observations[..., 0] // 1000).long()
    assert (envs == th.as_tensor(batch.windows.env)[:, None]).all()
    assert (numbers[:, 0].long() == th.as_tensor(batch.windows.start)).all()


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("capacity", [30, 400])
@pytest.mark.parametrize("timeout", [False, True])
@pytest.mark.parametrize("latents", [False, True])
def test_batches_equal_a_hand_made_stream(
    make_buffer: MakeBuffer, fill: Fill, n_envs: int, capacity: int, timeout: bool, latents: bool
) -> None:
    """Checklist D8 and pitfalls 1 and 7: rewards, flags and actions belong to their record."""
    buffer = make_buffer(capacity, n_envs, 6, latents)
    streams = fill(buffer, 50, lengths=[4, 7, None][:n_envs], timeout=timeout)
    batch = buffer.sample(128)
    for b, (env, start) in enumerate(zip(*batch.windows, strict=True)):
        stream = streams[env]
        for t in range(6):
            i = int(start) + t
            record = stream[i]
            opens = record.first or (t == 0 and not latents)
            assert float(batch.observations[b, t, 0]) == record.obs  # type: ignore[index]
            assert float(batch.rewards[b, t]) == record.reward
            assert bool(batch.is_first[b, t]) == opens
            assert bool(batch.is_last[b, t]) == record.last
            assert bool(batch.is_terminal[b, t]) == record.terminal
            led_here = 0.0 if opens else stream[i - 1].action
            assert float(batch.actions[b, t, 0]) == led_here
        if latents:  # the context is record 0 of the window, just before what is trained
            before = stream[int(start) - 1]
            expected = 0.0 if before.last else before.obs  # never shown to the policy: zeros
            assert batch.latents["deter"][b].tolist() == [expected] * 2


@pytest.mark.parametrize(("length", "starts"), [(8, [1, 10, 19]), (64, [1, 66, 131])])
def test_online_windows_cover_the_stream_once(
    make_buffer: MakeBuffer, fill: Fill, length: int, starts: list[int]
) -> None:
    """Checklist D8: every record is trained once, promptly; record 0 of a window is context."""
    buffer = make_buffer(1000, 1, length)
    fill(buffer, starts[-1] + length)
    assert (buffer.sample(2).windows.start - 1).tolist() == starts[:2]
    fill(buffer, 1)  # completes the third window
    assert int(buffer.sample(1).windows.start[0]) - 1 == starts[2]


def test_online_windows_come_first_and_once(make_buffer: MakeBuffer, fill: Fill) -> None:
    buffer = make_buffer(1000, 2, 8)
    fill(buffer, 30)  # complete windows that start at records 1, 10 and 19 of both streams
    report = buffer.sample(500, online=False)
    assert len({int(s) for s in report.windows.start}) > 10
    batch = buffer.sample(4)
    got = {(int(e), int(s) - 1) for e, s in zip(*batch.windows, strict=True)}
    assert got == {(0, 1), (1, 1), (0, 10), (1, 10)}
    rest = buffer.sample(2)
    got = {(int(e), int(s) - 1) for e, s in zip(*rest.windows, strict=True)}
    assert got == {(0, 19), (1, 19)}
    assert len({int(s) for s in buffer.sample(500).windows.start}) > 10


def test_overwritten_online_windows_are_not_given_out(make_buffer: MakeBuffer, fill: Fill) -> None:
    buffer = make_buffer(20, 1, 4)
    fill(buffer, 100)
    assert int(buffer.sample(64).windows.start.min()) - 1 >= 80


def test_online_windows_that_nobody_asks_for_do_not_pile_up(
    make_buffer: MakeBuffer, fill: Fill
) -> None:
    buffer = make_buffer(20, 2, 4)
    fill(buffer, 500)
    assert len(buffer._online) <= 2 * 20 // 4


@pytest.mark.parametrize("capacity", [25, 100])
def test_all_windows_are_drawn_with_the_same_probability(
    make_buffer: MakeBuffer, fill: Fill, capacity: int
) -> None:
    """Checklist D8; the streams differ in length, as terminal records come extra."""
    buffer = make_buffer(capacity, 3, 5)
    streams = fill(buffer, 40, lengths=[2, 9, None])
    expected = sum(max(min(len(s), capacity) - 6 + 1, 0) for s in streams)
    assert buffer.n_windows() == expected
    buffer.sample(1000)  # drain the queue
    drawn = buffer.sample(expected * 40)
    counts = Counter(zip(*(part.tolist() for part in drawn.windows), strict=True))
    assert len(counts) == expected
    chi_square = sum((n - 40) ** 2 / 40 for n in counts.values())
    assert chi_square < expected + 4 * (2 * expected) ** 0.5  # four standard deviations


@pytest.mark.parametrize("length", [2, 4, 60])
def test_ends_are_drawn_as_often_as_they_happen(
    make_buffer: MakeBuffer, fill: Fill, length: int
) -> None:
    """
    Pitfall 15 of the first Dreamers: where windows lie within episodes, ends are seen too rarely,
    and episodes shorter than a window never.
    """
    buffer = make_buffer(4_000, 1, 8)
    fill(buffer, 3_600, lengths=[length])
    buffer.sample(1_000)  # drain the queue
    batch = buffer.sample(4_000)
    share = 1 / (length + 1)  # of the records of an episode one is its end
    ends = batch.is_terminal.float().mean(0)
    assert ends.mean().item() == pytest.approx(share, rel=0.08)
    assert ends.numpy() == pytest.approx(share, rel=0.4)  # wherever in a window


def test_episodes_cut_without_a_done_are_marked_as_last(
    make_buffer: MakeBuffer, fill: Fill
) -> None:
    """Section 7.4: a reset by hand or a restart must not join two episodes."""
    buffer = make_buffer(100, 1, 6)
    fill(buffer, 10)
    buffer.start_new_episodes()
    fill(buffer, 10)
    batch = buffer.sample(300)
    cut = batch.windows.start[:, None] + np.arange(6)
    first, last = batch.is_first.numpy(), batch.is_last.numpy()
    assert (first == (cut == 10)).all()
    assert last[:, :-1].tolist() == (cut == 9)[:, :-1].tolist()  # the last column is unchanged
    assert not last[:, -1].any()
    assert not batch.is_terminal.any()
    assert not batch.rewards.numpy()[cut == 10].any()
    assert not batch.actions.numpy()[cut == 10].any()


def test_sampling_leaves_the_stored_actions_alone(make_buffer: MakeBuffer, fill: Fill) -> None:
    """Pitfall 18: shifting actions in overlapping memory corrupted 1.6 % of them in one port."""
    buffer = make_buffer(50, 2, 6)
    streams = fill(buffer, 20, lengths=[4, None])
    for _ in range(20):
        buffer.sample(32)
    for env, stream in enumerate(streams):
        stored = buffer.actions[: len(stream), env, 0]
        assert stored.tolist() == [record.action for record in stream]


def test_without_latents_every_window_starts_an_episode(
    make_buffer: MakeBuffer, fill: Fill
) -> None:
    """Pitfall 18: no context means a zero-state start, never the state of another batch."""
    buffer = make_buffer(100, 1, 6, latents=False)
    fill(buffer, 30)
    batch = buffer.sample(32)
    assert batch.is_first[:, 0].all()
    assert not batch.actions[:, 0].any()
    assert not batch.is_first[:, 1:].any()
    assert batch.latents == {}
    assert buffer.n_windows() == 30 - 6 + 1


# ---------------------------------------------------------------- latents


def test_write_back_changes_the_trained_records_only(make_buffer: MakeBuffer, fill: Fill) -> None:
    """Checklist D8: rows 1..T, never the context record."""
    buffer = make_buffer(50, 2, 4)
    fill(buffer, 30)
    before = {k: v.copy() for k, v in buffer.latents.items()}
    windows = Windows(np.array([1]), np.array([7]))
    new = {"deter": np.full((1, 4, 2), -5.0), "stoch": np.full((1, 4, 3), 99, np.uint8)}
    buffer.write_latents(windows, new)
    for name, value in (("deter", -5.0), ("stoch", 99)):
        changed = (buffer.latents[name] != before[name]).any(-1)
        assert [tuple(x) for x in np.argwhere(changed)] == [(i, 1) for i in (7, 8, 9, 10)]
        assert (buffer.latents[name][7:11, 1] == value).all()


def test_pitfall_19_later_row_wins_where_write_backs_overlap(
    make_buffer: MakeBuffer, fill: Fill
) -> None:
    """One scatter with repeated targets is undefined in some frameworks (pytorch/rl#4133)."""
    buffer = make_buffer(50, 1, 4)
    fill(buffer, 30)
    starts = np.array([5, 3, 6, 4])
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    windows = Windows(np.zeros(4, int), starts)
    rows = np.repeat(values[..., None], 2, -1)
    buffer.write_latents(windows, {"deter": rows, "stoch": np.zeros((4, 4, 3), np.uint8)})
    expected = {}
    for row, start in enumerate(starts):
        for t in range(4):
            expected[int(start) + t] = values[row, t]
    for index, value in expected.items():
        assert buffer.latents["deter"][index, 0].tolist() == [value, value]


def test_write_back_skips_records_overwritten_meanwhile(
    make_buffer: MakeBuffer, fill: Fill
) -> None:
    buffer = make_buffer(20, 1, 4)
    fill(buffer, 33)  # holds records 13 to 32
    before = buffer.latents["deter"].copy()
    new = {"deter": np.full((1, 4, 2), -5.0), "stoch": np.zeros((1, 4, 3), np.uint8)}
    buffer.write_latents(Windows(np.array([0]), np.array([11])), new)  # records 11 to 14
    changed = np.flatnonzero((buffer.latents["deter"] != before).any(-1))
    assert sorted(changed) == sorted([13 % 20, 14 % 20])


def test_refreshed_latents_are_the_next_context(make_buffer: MakeBuffer, fill: Fill) -> None:
    buffer = make_buffer(50, 1, 4)
    fill(buffer, 10)
    new = {"deter": np.full((1, 4, 2), -5.0), "stoch": np.full((1, 4, 3), 9, np.uint8)}
    buffer.write_latents(Windows(np.array([0]), np.array([2])), new)
    batch = buffer.sample(100)
    for start, deter, stoch in zip(batch.windows.start, *batch.latents.values(), strict=True):
        refreshed = 2 <= start - 1 <= 5
        assert deter.tolist() == [-5.0 if refreshed else start - 1] * 2
        assert stoch.tolist() == [9 if refreshed else start - 1] * 3


# ---------------------------------------------------------------- spaces and normalization


def test_vec_normalize_is_applied_on_the_way_out(make_buffer: MakeBuffer, fill: Fill) -> None:
    buffer = make_buffer(50, 1, 4)
    fill(buffer, 30, lengths=[5])
    normalize = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]), clip_obs=1e9)
    seen = RunningMeanStd(shape=(1,))
    seen.mean, seen.var = np.array([10.0]), np.array([4.0])
    normalize.obs_rms = seen  # type: ignore[assignment]
    normalize.ret_rms.var, normalize.clip_reward = np.array(9.0), 1e9
    buffer.rng = np.random.default_rng(1)
    buffer._online.clear()
    raw = buffer.sample(16)
    buffer.rng = np.random.default_rng(1)
    out = buffer.sample(16, env=normalize)
    assert isinstance(raw.observations, th.Tensor)
    assert isinstance(out.observations, th.Tensor)
    expected = (raw.observations.numpy() - 10.0) / np.sqrt(4.0 + normalize.epsilon)
    np.testing.assert_allclose(out.observations.numpy(), expected, rtol=1e-5)
    expected = raw.rewards.numpy() / np.sqrt(9.0 + normalize.epsilon)
    np.testing.assert_allclose(out.rewards.numpy(), expected, rtol=1e-5)
    assert out.observations.dtype == out.rewards.dtype == th.float32


def test_whole_numbers_that_were_normalized_are_rounded_back(make_buffer: MakeBuffer) -> None:
    """SB3 takes back what it did to an episode's last observation: 3 may come as 2.9999998."""
    buffer = make_buffer(observation_space=spaces.Box(0, 9, (2,), np.int64), latents=False)
    before, last = np.array([[1, 2]]), np.array([[2.9999998, 4.0000002]])
    buffer.add(before, last, np.zeros((1, 1)), np.zeros(1), np.ones(1, bool), [{}])
    assert buffer.observations[:2, 0].tolist() == [[1, 2], [3, 4]]


def test_latents_are_stored_with_the_step_they_were_staged_for(make_buffer: MakeBuffer) -> None:
    buffer, zeros = make_buffer(), np.zeros((1, 1))
    buffer.stage_latents({"deter": np.ones((1, 2)), "stoch": np.ones((1, 3))})
    for _ in range(2):  # the second step comes without
        buffer.add(zeros, zeros, zeros, np.zeros(1), np.zeros(1, bool), [{}])
    for part in buffer.latents.values():
        assert (part[0] == 1).all()
        assert not part[1].any()


def test_windows_that_can_never_be_as_long_as_asked_for_are_told(make_buffer: MakeBuffer) -> None:
    with pytest.warns(UserWarning, match=r"batch_length=8.*room for 5 records of each of 2 env"):
        make_buffer(5, n_envs=2, batch_length=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buffer = make_buffer(8, n_envs=2, batch_length=8)
    with pytest.warns(UserWarning, match=r"Expected buffer_size=18"):
        buffer.set_batch_length(9)
