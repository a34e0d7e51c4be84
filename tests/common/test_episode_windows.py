"""Windows within episodes against DreamerV2's rule, start by start."""

import numpy as np
import pytest

from tests.common.episode_windows import episode_starts

LENGTH = 4


def _all_starts(total: int, prioritize_ends: bool, per_start: int = 3) -> list[int]:
    """Starts of random numbers that are spread evenly over all that can be drawn."""
    upper = total - LENGTH + 1 + (LENGTH if prioritize_ends else 0)
    draws = (np.arange(upper * per_start) + 0.5) / (upper * per_start)
    totals = np.full(len(draws), total)
    return episode_starts(draws, totals, LENGTH, prioritize_ends=prioritize_ends).tolist()


def test_without_priority_every_start_is_as_likely() -> None:
    assert _all_starts(7, False) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_prioritized_ends_are_drawn_one_window_length_more_often() -> None:
    starts = _all_starts(7, True)
    assert [starts.count(i) for i in range(4)] == [3, 3, 3, 3 * (1 + LENGTH)]
    assert max(starts) == 7 - LENGTH


@pytest.mark.parametrize("total", [4, 7, 50])
def test_ends_are_then_seen_as_often_as_in_a_stream(total: int) -> None:
    """Pitfall 15: the share of windows that hold an end, here and over episodes in a row."""
    starts = _all_starts(total, True)
    within = np.mean([start + LENGTH == total for start in starts])
    assert within == pytest.approx((LENGTH + 1) / (total + 1))
    stream = np.mean(
        [(np.arange(start, start + LENGTH) % total == total - 1).any() for start in range(total)]
    )
    assert stream == pytest.approx(LENGTH / total)
    assert abs(within - stream) <= 1 / (total + 1)


def test_episodes_of_different_lengths_in_one_batch() -> None:
    totals = np.array([4, 5, 60])
    starts = episode_starts(np.array([0.99, 0.0, 0.999999]), totals, LENGTH)
    assert starts.tolist() == [0, 0, 56]
    assert starts.dtype == np.int64


def test_an_episode_shorter_than_a_window_is_refused() -> None:
    """Pitfall 15: skipped in silence, short episodes starve the learner."""
    with pytest.raises(ValueError, match="An episode of 3 records is shorter than batch_length=4"):
        episode_starts(np.zeros(2), np.array([9, 3]), LENGTH)
