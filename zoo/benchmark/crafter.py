"""What Crafter's paper reports of an agent: one number of 22 success rates."""

from collections.abc import Mapping, Sequence

import numpy as np


def crafter_score(episodes: Sequence[Mapping[str, int]]) -> float:
    """
    Score episodes as Crafter's paper does (arXiv:2109.06780, section 3.3), from 0 to 100.

    The geometric mean over achievements of the shares, in percent, of episodes in which each was
    unlocked; 1 is added before and taken away after. Rare achievements count as common ones do.

    Example:
        >>> from dreamzoo.benchmark import crafter_score
        >>> episodes = [{"eat_cow": 3, "collect_iron": 0}, {"eat_cow": 1, "collect_iron": 0}]
        >>> round(crafter_score(episodes), 2)
        9.05

    :param episodes: what ``info["achievements"]`` says at the end of each
    :raises ValueError: if there is no episode, or they know different achievements
    """
    if not episodes:
        raise ValueError("There is no episode to score.")
    names = episodes[0].keys()
    if any(episode.keys() != names for episode in episodes):
        raise ValueError("These episodes know different achievements: they are not of one game.")
    unlocked = np.array([[episode[name] > 0 for name in names] for episode in episodes])
    shares = 100 * unlocked.mean(axis=0)
    return float(np.exp(np.log1p(shares).mean()) - 1)
