"""Runs beside published results, as tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dreamzoo.benchmark.results.aggregates import Aggregate, aggregates, find_task
from dreamzoo.benchmark.results.evaluations import Evaluation, final_returns, short_name
from dreamzoo.benchmark.results.published import METHODS, Published, last_point, of_task, window_of
from dreamzoo.benchmark.results.styles import styles


class Table(NamedTuple):
    """
    A table and what explains it.

    :param heads: of the columns
    :param rows: cells
    :param caption: what the numbers are
    """

    heads: list[str]
    rows: list[list[str]]
    caption: str

    @property
    def markdown(self) -> str:
        """The table in Markdown, its caption below."""
        return f"{markdown(self.heads, self.rows)}\n\n{self.caption}"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Write a table in Markdown.

    Example:
        >>> from dreamzoo.benchmark.results.table import markdown
        >>> print(markdown(["agent", "Pong"], [["SAC", "-3"]]))
        | agent | Pong |
        |---|---|
        | SAC | -3 |

    :param heads: of the columns
    :param rows: cells
    """
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    lines.insert(1, "|---" * len(heads) + "|")
    return "\n".join(lines)


def windows_of(frames: Mapping[str, int], window: int | None = None) -> dict[str, int]:
    """
    Say for each task over how many frames returns are averaged.

    :param frames: tasks, and the frames at which their returns are shown
    :param window: of all tasks; None: see :func:`~dreamzoo.benchmark.results.published.window_of`
    """
    return {task: window or window_of(task, end) for task, end in frames.items()}


def result_table(
    own: Iterable[Evaluation], frames: Mapping[str, int], window: int | None = None
) -> Table:
    """
    Tabulate agents by tasks, with what is published of the tasks.

    Shown are the mean over the seeds and the range from the lowest to the highest: of one task,
    three seeds carry no interval worth its name. All tasks together have one, where there are at
    least three with a common scale (:mod:`~dreamzoo.benchmark.results.aggregates`).

    Example:
        >>> from dreamzoo.benchmark.results import Evaluation, result_table
        >>> row = Evaluation("sac", "Pendulum-v1", 0, 900, 900, -150.5, 9.0, 10, 1, "abc")
        >>> table = result_table([row], {"Pendulum-v1": 900})
        >>> table.heads, table.rows
        (['agent', 'Pendulum-v1'], [['SAC', '-150 (-150 to -150; 1)']])

    :param own: evaluations of runs
    :param frames: tasks, which are the columns, and the frames at which their returns are shown
    :param window: frames before, over whose evaluations is averaged; None: of each task its own
    """
    shown = [row for row in own if row.task in frames]
    windows = windows_of(frames, window)
    scores = aggregates(shown, frames, windows)
    rows: list[list[str]] = []
    for agent, style in styles(row.agent for row in shown).items():
        cells = []
        for task, end in frames.items():
            curves = [row for row in shown if (row.agent, row.task) == (agent, task)]
            x = list(final_returns(curves, end, windows[task]).values())
            mean, low, high = (
                rounded(*(float(of(x)) for of in (np.mean, np.min, np.max))) if x else ("", "", "")
            )
            cells.append(f"{mean} ({low} to {high}; {len(x)})" if x else "-")
        rows.append([style.name, *cells, *_over_all(scores, agent)])
    tasks = [find_task(task) for task in frames]
    for who, name in {"random": "random actions", "human": "people"}.items():
        known = [None if task is None else task.returns.get(who) for task in tasks]
        if any(x is not None for x in known):
            cells = ["-" if x is None else rounded(x)[0] for x in known]
            rows.append([name, *cells, *_over_all(scores, "")])
    points: list[Published] = []
    for method, of_method in METHODS.items():
        found = [last_point(of_task(task, method), end) for task, end in frames.items()]
        if any(found):
            cells = [
                "{} +- {} ({})".format(*rounded(x.mean, x.std), x.seeds) if x else "-"
                for x in found
            ]
            rows.append([of_method.name, *cells, *_over_all(scores, "")])
            points += [x for x in found if x]
    heads = ["agent", *_titles(frames), *(["all tasks"] if scores else [])]
    return Table(heads, rows, caption(shown, points, frames, windows, bool(scores)))


def _titles(frames: Mapping[str, int]) -> list[str]:
    """Name tasks without their suites, where that tells them apart."""
    short = [short_name(task) for task in frames]
    return short if len(set(short)) == len(short) else list(frames)


def _over_all(scores: Mapping[str, Aggregate], agent: str) -> list[str]:
    """Write the last cell of a row, if the table has that column."""
    if not scores:
        return []
    score = scores.get(agent)
    if score is None:
        return ["-"]
    return [f"{score.iqm:.2f} ({score.low:.2f} to {score.high:.2f}; {score.seeds})"]


def rounded(*numbers: float) -> list[str]:
    """
    Write returns of one task: whole where they are large, two decimals where all are below 20.

    :param numbers: of one cell
    """
    decimals = 0 if max(map(abs, numbers)) >= 20 else 2
    return [f"{number:.{decimals}f}" for number in numbers]


def caption(
    shown: Sequence[Evaluation],
    points: Sequence[Published],
    frames: Mapping[str, int],
    windows: Mapping[str, int],
    over_all: bool,
) -> str:
    """
    Explain the numbers of a table.

    :param shown: evaluations that it shows
    :param points: points of published curves that it shows
    :param frames: at which the returns of each task are shown
    :param windows: frames before, over whose evaluations is averaged
    :param over_all: whether it has a column for all tasks together
    """
    names = styles(row.agent for row in shown)
    episodes = either({row.episodes for row in shown} or {0})
    modes = {
        names[r.agent].name + (" most likely" if r.deterministic else " sampled") for r in shown
    }
    commits = {row.commit for row in shown}
    text = (
        f"Returns at {either(frames.values())} frames. Own runs: mean over the seeds (lowest to "
        f"highest; number of seeds) of the evaluations in the last {either(windows.values())} "
        f"frames, {episodes} episodes each; actions: {listed(modes)}; commits: {listed(commits)}."
    )
    if over_all:
        text += (
            " All tasks: interquartile mean over tasks and seeds, with the interval of 95 % of a "
            "bootstrap stratified by tasks (and the number of seeds: the first so many of each "
            f"task), of returns from 0 to 1: {_scales(frames)}."
        )
    if any(task and {"random", "human"} & task.returns.keys() for task in map(find_task, frames)):
        text += " Random actions and people: docs/suites.md."
    if not points:
        return text
    where = {f"{METHODS[p.method].name.partition(',')[0]} {_where(p)}" for p in points}
    text += (
        " Published: mean +- standard deviation over the seeds (their number); "
        f"{listed(where)}. Those of DreamerV3 are returns of training episodes, not of evaluations"
    )
    if any(point.suite == "dmc_proprio" for point in points):
        text += "; on dm_control from numbers it is the agent of 2023 at size S, train ratio 512"
    text += "."
    if not all(point.window for point in points):
        text += (
            " Those at a number of frames are single evaluations there: for agents that still "
            "learn they are above a mean of the frames before, such as own runs have."
        )
    return text


def _scales(tasks: Iterable[str]) -> str:
    """Say what is 0 and 1 of returns."""
    meanings = {
        "dmc": "divided by 1000",
        "dmc_pixels": "divided by 1000",
        "procgen": "from blind to best on ProcGen",
    }
    found = (meanings.get(t.partition("/")[0], "from random actions to people") for t in tasks)
    return ", ".join(dict.fromkeys(found))


def _where(point: Published) -> str:
    """Say at which frames a published number stands."""
    if point.window:
        return f"in the {point.window:,} frames that end at {point.frames:,}"
    return f"at {point.frames:,} frames"


def either(numbers: Iterable[int]) -> str:
    """Write numbers that differ from task to task: "20,000 or 50,000", of many the ends."""
    found = [f"{number:,}" for number in sorted(set(numbers))]
    return " or ".join(found) if len(found) <= 3 else f"{found[0]} to {found[-1]}"


def listed(names: Iterable[str]) -> str:
    """Join names in the order of the alphabet."""
    return ", ".join(sorted(names)) or "-"
