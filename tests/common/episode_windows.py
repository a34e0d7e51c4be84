"""Where windows lie that are drawn within single episodes, as DreamerV2's replay draws them."""

import numpy as np


def episode_starts(
    draws: np.ndarray, totals: np.ndarray, length: int, *, prioritize_ends: bool = True
) -> np.ndarray:
    """
    Turn random numbers into first records of windows (``_sample_sequence``, danijar/dreamerv2).

    Starts are uniform over those that leave room for a whole window. Of an episode of many windows
    only one holds the end; ``prioritize_ends`` draws from ``length`` starts more, all of which are
    moved to that one. The end of an episode of n records is then in (length + 1) / (n + 1) of its
    windows: about as often as in windows over a stream of episodes, which need no such correction.

    :param draws: uniform in [0, 1), (B,)
    :param totals: records of the episode of every window, at least ``length`` each, (B,)
    :param length: records L of a window
    :param prioritize_ends: draw windows that end with their episode more often
    :return: number of the first record, (B,), int64
    :raises ValueError: if an episode is shorter than a window
    """
    if (totals < length).any():
        raise ValueError(
            f"An episode of {totals.min()} records is shorter than batch_length={length}: leave it "
            "out, or shorten the windows."
        )
    starts = totals - length + 1 + (length if prioritize_ends else 0)
    return np.minimum((draws * starts).astype(np.int64), totals - length)
