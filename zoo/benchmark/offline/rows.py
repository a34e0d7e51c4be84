"""Rows of the files that keep what came of worlds from recorded data."""

from typing import NamedTuple


class Earned(NamedTuple):
    """
    What a policy has earned: a row of a file of results.

    :param task: name of the environment
    :param seed: of the world and of whoever learned in it
    :param who: one of :data:`dreamzoo.benchmark.offline.results.COLUMNS`
    :param mean_return: over the episodes
    :param half_width: of its 95 % confidence interval; 0 where there is none
    :param episodes: their number
    :param real_steps: of the episodes that the world was learned from
    :param updates: of the world model
    :param dream_steps: of PPO
    :param commit: of the code, joined by ``+`` where it was several
    """

    task: str
    seed: int
    who: str
    mean_return: float
    half_width: float
    episodes: int
    real_steps: int
    updates: int
    dream_steps: int
    commit: str


class HeldOut(NamedTuple):
    """
    How wrong a world is on episodes that were held out: a row of a file of errors.

    :param task: name of the environment
    :param seed: of the world
    :param horizon: steps ahead
    :param part: of the observation, or ``reward``
    :param predicted: root mean squared error of the world
    :param unchanged: of saying that the last seen observation stays; of a reward nan
    :param sequences: that go on for so long
    :param commit: of the code
    """

    task: str
    seed: int
    horizon: int
    part: str
    predicted: float
    unchanged: float
    sequences: int
    commit: str
