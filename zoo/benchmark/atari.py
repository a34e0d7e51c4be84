"""
Atari scores in one number: the four summaries that DreamerV2 reports, and what they compare with.

One game can carry a mean: the reference file of DreamerV2's first release holds the wrong scores of
James Bond (random 7 and human 29 instead of 29 and 302.8), which alone lifts its gamer mean from
11.5 to 42.3. Hence the paper's advice to quote the clipped record mean.
"""

import csv
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

_REFERENCE = Path(__file__).parent / "atari_reference.csv"
_PUBLISHED = Path(__file__).parent / "atari_published.csv"
#: Games that the paper leaves out of its 55 (DreamerV2, section 3).
_LEFT_OUT = {"defender", "surround"}


class Reference(NamedTuple):
    """
    Raw returns of one game that others are measured against; sources stand in the file.

    :param random: of random actions
    :param human: of a professional gamer
    :param record: of the human world record; None where none is known
    """

    random: float
    human: float
    record: float | None


class Summary(NamedTuple):
    """
    An agent's scores over many games (DreamerV2, section 3).

    :param gamer_median: median over games of returns, where 0 is random and 1 the gamer
    :param gamer_mean: their mean, which a few games dominate
    :param record_mean: mean over games of returns, where 0 is random and 1 the world record
    :param clipped_record_mean: the same, with each game counting at most 1. Scores below random
        stay negative: they are not clipped
    """

    gamer_median: float
    gamer_mean: float
    record_mean: float
    clipped_record_mean: float


class SeedSummary(NamedTuple):
    """
    Scores of several seeds in both orders of averaging, which differ by up to a fifth.

    :param of_means: summary of every game's mean over seeds
    :param mean: mean of the seeds' own summaries, which the caption of DreamerV2's table K.1 asks
        for
    """

    of_means: Summary
    mean: Summary


def references() -> dict[str, Reference]:
    """Return the reference scores of all 57 games by name, as ``jamesbond`` or ``up_n_down``."""
    return dict(_references())


def games() -> list[str]:
    """Return the names of the 55 games of the benchmark: all but Defender and Surround."""
    return [name for name in _references() if name not in _LEFT_OUT]


@cache
def _references() -> dict[str, Reference]:
    return {
        row["game"]: Reference(
            float(row["random"]),
            float(row["human"]),
            float(row["record"]) if row["record"] else None,
        )
        for row in read_table(_REFERENCE)
    }


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a file's rows; lines that begin with # say where they are from."""
    with path.open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def published(agent: str = "dreamerv2_200m_paper") -> dict[str, float]:
    """
    Return published returns of the 55 games.

    Example:
        >>> from dreamzoo.benchmark import atari
        >>> scores = atari.published("rainbow_200m_paper")
        >>> scores["pong"]
        20.0

    :param agent: a column of atari_published.csv, as ``rainbow_200m_paper`` or ``dreamerv2_5m``
    :raises ValueError: if there is no such column
    """
    rows = read_table(_PUBLISHED)
    if agent not in rows[0] or agent == "game":
        raise ValueError(f"Nothing is published here of {agent!r}; expected {list(rows[0])[1:]}.")
    return {row["game"]: float(row[agent]) for row in rows}


def game_name(name: str) -> str:
    """
    Return the name that the reference scores have for a game.

    Spellings differ between programs: ``ALE/UpNDown-v5``, ``UpNDownNoFrameskip-v4``,
    ``atari/up_n_down`` and ``atari_up_n_down`` are one game, ``james_bond`` and ``jamesbond``, too.

    :param name: as any of these
    :raises ValueError: if no game is spelled so
    """
    bare = name.rpartition("/")[2].removeprefix("atari_")
    bare = re.sub(r"(NoFrameskip|Deterministic)?-v\d+$", "", bare)
    found = _spellings().get(_letters(bare))
    if found is None:
        raise ValueError(f"{name!r} is not one of the 57 Atari games: {list(_references())}.")
    return found


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


@cache
def _spellings() -> dict[str, str]:
    return {_letters(name): name for name in _references()}


def gamer_score(game: str, score: float) -> float:
    """
    Scale a return so that random actions have 0 and a professional gamer 1.

    :param game: in any spelling
    :param score: raw return
    """
    reference = _references()[game_name(game)]
    return (score - reference.random) / (reference.human - reference.random)


def record_score(game: str, score: float) -> float:
    """
    Scale a return so that random actions have 0 and the human world record 1.

    :param game: in any spelling
    :param score: raw return
    :raises ValueError: if no record is known
    """
    reference = _references()[game_name(game)]
    if reference.record is None:
        raise ValueError(f"No world record of {game_name(game)} is known.")
    return (score - reference.random) / (reference.record - reference.random)


def summarize(scores: Mapping[str, float], of: Collection[str] | None = None) -> Summary:
    """
    Summarize one agent's returns of many games.

    Example:
        >>> from dreamzoo.benchmark import atari
        >>> found = atari.summarize(atari.published("dreamerv2_200m_paper"))
        >>> round(found.gamer_median, 3), round(found.clipped_record_mean, 3)
        (2.146, 0.279)
        >>> mine = {"ALE/Pong-v5": 18.0, "ALE/Freeway-v5": 30.0}
        >>> round(atari.summarize(mine, of=mine).gamer_mean, 3)
        1.055

    :param scores: raw returns by game, in any spelling; games that are not asked for are left out
    :param of: games to summarize, in any spelling; None: the paper's 55. Summaries of different
        sets of games cannot be compared
    :raises ValueError: if a game has no score, two, or one that is not finite
    """
    given: dict[str, float] = {}
    for name, score in scores.items():
        game = game_name(name)
        if game in given:
            raise ValueError(f"{name!r} is {game}, which has a score already.")
        if not math.isfinite(score):
            raise ValueError(f"The score of {name!r} is {score}; expected a finite number.")
        given[game] = score
    asked = games() if of is None else sorted({game_name(name) for name in of})
    missing = [game for game in asked if game not in given]
    if missing or not asked:
        raise ValueError(
            f"{len(missing)} of {len(asked)} games have no score: {missing}. Name the games to "
            "summarize: of=[...]; none of the published numbers then compares."
        )
    gamer = [gamer_score(game, given[game]) for game in asked]
    record = [record_score(game, given[game]) for game in asked]
    return Summary(median(gamer), fmean(gamer), fmean(record), fmean(min(x, 1.0) for x in record))


def summarize_seeds(
    seeds: Sequence[Mapping[str, float]], of: Collection[str] | None = None
) -> SeedSummary:
    """
    Summarize several seeds, in both orders.

    :param seeds: returns by game, one mapping for every seed, each of all games
    :param of: games to summarize, see :func:`summarize`
    """
    if not seeds:
        raise ValueError("There is no seed to summarize.")
    named = [{game_name(name): score for name, score in seed.items()} for seed in seeds]
    each = [summarize(seed, of) for seed in seeds]
    means = {game: fmean(seed[game] for seed in named) for game in _common(named)}
    return SeedSummary(summarize(means, of), Summary(*(fmean(x) for x in zip(*each, strict=True))))


def _common(seeds: Iterable[Mapping[str, float]]) -> set[str]:
    """Return the games that all seeds have."""
    return set.intersection(*(set(seed) for seed in seeds))
