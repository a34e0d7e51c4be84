"""A table of runs beside published results."""

from collections.abc import Iterable

import numpy as np

from dreamzoo.benchmark.results import (
    METHODS,
    Evaluation,
    Published,
    final_returns,
    last_point,
    of_task,
    short_name,
    styles,
)


def result_table(
    own: list[Evaluation], published: list[Published], frames: dict[str, int], window: int
) -> str:
    """
    Write a markdown table, agents by tasks, and a caption that says what the numbers are.

    Three seeds carry no interval worth its name and no bootstrap (so no rliable): shown are the
    mean over the seeds and the range from the lowest to the highest.

    :param own: evaluations of runs
    :param published: published curves
    :param frames: tasks, which are the columns, and the frames at which their returns are shown
    :param window: frames before, over whose evaluations is averaged
    """
    shown = [row for row in own if row.task in frames]
    rows: list[list[str]] = []
    for agent, style in styles(shown).items():
        cells = []
        for task, end in frames.items():
            curves = [row for row in shown if (row.agent, row.task) == (agent, task)]
            x = final_returns(curves, end, window)
            mean, low, high = rounded(float(np.mean(x)), min(x), max(x)) if x else ("", "", "")
            cells.append(f"{mean} ({low} to {high}; {len(x)})" if x else "-")
        rows.append([style.name, *cells])
    points: list[Published] = []
    for method, of_method in METHODS.items():
        found = [last_point(of_task(published, task, method), end) for task, end in frames.items()]
        if any(found):
            cells = [
                "{} +- {} ({})".format(*rounded(x.mean, x.std), x.seeds) if x else "-"
                for x in found
            ]
            rows.append([of_method.name, *cells])
            points += [x for x in found if x]
    heads = ["agent", *(short_name(task) for task in frames)]
    lines = [" | ".join(cells) for cells in (heads, *rows)]
    lines = [f"| {line} |" for line in lines]
    lines.insert(1, "|---" * len(heads) + "|")
    return "\n".join([*lines, "", caption(shown, points, frames, window)])


def rounded(*numbers: float) -> list[str]:
    """
    Write returns of one task: whole where they are large, two decimals where all are below 20.

    :param numbers: of one cell
    """
    decimals = 0 if max(map(abs, numbers)) >= 20 else 2
    return [f"{number:.{decimals}f}" for number in numbers]


def caption(
    shown: list[Evaluation], points: list[Published], frames: dict[str, int], window: int
) -> str:
    """
    Explain the numbers of a table.

    :param shown: evaluations that it shows
    :param points: points of published curves that it shows
    :param frames: at which the returns of each task are shown
    :param window: frames before, over whose evaluations is averaged
    """
    names = styles(shown)
    episodes = max((row.episodes for row in shown), default=0)
    modes = {
        names[r.agent].name + (" most likely" if r.deterministic else " sampled") for r in shown
    }
    commits = {row.commit for row in shown}
    ends = " or ".join(f"{end:,}" for end in sorted(set(frames.values())))
    text = (
        f"Returns at {ends} frames. Own runs: mean over the seeds (lowest to highest; "
        f"number of seeds) of the evaluations in the last {window:,} frames, {episodes} "
        f"episodes each; actions: {listed(modes)}; commits: {listed(commits)}."
    )
    if not points:
        return text
    where = {f"{METHODS[p.method].name.partition(',')[0]} {_where(p)}" for p in points}
    return (
        f"{text} Published: mean +- standard deviation over the seeds (their number); "
        f"{listed(where)}. Published DreamerV3 is the agent of 2023 at size S, train ratio 512, "
        "action repeat 2, its returns those of training episodes, not of evaluations."
    )


def _where(point: Published) -> str:
    """Say at which frames a published number stands."""
    if point.window:
        return f"in the {point.window:,} frames that end at {point.frames:,}"
    return f"at {point.frames:,} frames"


def listed(names: Iterable[str]) -> str:
    """Join names in the order of the alphabet."""
    return ", ".join(sorted(names)) or "-"
