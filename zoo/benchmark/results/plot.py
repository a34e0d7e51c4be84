"""Curves of runs beside published ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamzoo.analysis.html_page import DPI
from dreamzoo.benchmark.results.aggregates import Aggregate, find_task
from dreamzoo.benchmark.results.evaluations import Evaluation, short_name
from dreamzoo.benchmark.results.published import METHODS, of_task
from dreamzoo.benchmark.results.styles import styles
from dreamzoo.envs.errors import requires_extra

with requires_extra("benchmark"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4


def draw(axis: Axes, own: Iterable[Evaluation], task: str, end: int) -> None:
    """
    Draw what belongs to one task: every seed, the mean of each agent, published curves.

    :param axis: to draw on
    :param own: evaluations of runs
    :param task: as :func:`~dreamzoo.envs.make_env` names it
    :param end: frames at which the curves end
    """
    rows = [row for row in own if row.task == task]
    for agent, style in styles(row.agent for row in rows).items():
        seeds: dict[int, dict[int, float]] = {}
        for row in rows:
            if row.agent == agent:
                seeds.setdefault(row.seed, {})[row.frames] = row.mean_return
        for curve in seeds.values():
            axis.plot(*_points(curve), color=style.color, linewidth=0.8, alpha=0.45, **_dot(curve))
        mean = _mean(seeds)
        looks: dict[str, Any] = dict(color=style.color, linewidth=2.2, label=style.name)
        axis.plot(*_points(mean), **looks, **_dot(mean))
    for method, of_method in METHODS.items():
        # The mean of a window belongs to its middle.
        points = [(r.frames - r.window / 2, r.mean) for r in of_task(task, method)]
        points = [(x, y) for x, y in points if x <= end]
        if points:
            style_of = dict(color=of_method.color, markersize=4, label=of_method.name)
            axis.plot(*zip(*points, strict=True), "o--", **style_of)  # type: ignore[arg-type]
    known = find_task(task)
    if known is not None and "random" in known.returns:
        axis.axhline(known.returns["random"], color="gray", linestyle=":", label="random actions")


def _dot(curve: Mapping[int, float]) -> dict[str, Any]:
    """Let a single point be seen, which as a line would not be, and whole where the axis ends."""
    return dict(marker="o", clip_on=False) if len(curve) == 1 else {}


def _points(curve: Mapping[int, float]) -> tuple[list[int], list[float]]:
    frames = sorted(curve)
    return frames, [curve[x] for x in frames]


def _mean(seeds: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """
    Average over the seeds where all of them have an evaluation.

    Where one that is unfinished, or had another spacing, is missing, a mean of the others would
    jump: the seeds' own lines go on alone.
    """
    common = set.intersection(*map(set, seeds.values()))
    return {x: float(np.mean([curve[x] for curve in seeds.values()])) for x in common}


def plot_results(own: Iterable[Evaluation], frames: Mapping[str, int]) -> Figure:
    """
    Draw one panel for each task: all seeds, means over them, published curves.

    Example:
        >>> from dreamzoo.benchmark.results import Evaluation
        >>> from dreamzoo.benchmark.results.plot import plot_results
        >>> rows = [Evaluation("sac", "Pendulum-v1", 0, x, x, -x, 9, 10, 1, "abc") for x in (5, 9)]
        >>> plot_results(rows, {"Pendulum-v1": 9}).savefig("curves.png")

    :param own: evaluations of runs
    :param frames: tasks, as :func:`~dreamzoo.envs.make_env` names them, and where curves end
    """
    own = [row for row in own if row.task in frames]
    columns = min(len(frames), COLUMNS)
    rows = -(-len(frames) // columns)
    figure = Figure(figsize=(max(4 * columns, 8), 4 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axis in panels[len(frames) :]:
        axis.set_axis_off()
    for axis, (task, end) in zip(panels[: len(frames)], frames.items(), strict=True):
        draw(axis, own, task, end)
        axis.set_title(short_name(task), fontsize=13)
        scale, unit = _unit(end)
        axis.set_xlabel(f"frames{unit}", fontsize=12)
        axis.set_xlim(0, end)
        if task.startswith("dmc"):
            axis.set_ylim(0, 1_000)  # every return of the suite lies there
        axis.xaxis.set_major_formatter(lambda x, _, scale=scale: f"{x / scale:g}")
        axis.tick_params(labelsize=11)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("return", fontsize=12)
    handles = {
        name: handle
        for axis in panels
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=min(len(handles), max(3, columns + 1)),
            fontsize=11,
            frameon=False,
        )
    return figure


def _unit(end: int) -> tuple[int, str]:
    """Choose in what frames are counted: one by one, in thousands or in millions."""
    if end < 5_000:
        return 1, ""
    return (1_000, ", thousands") if end < 5_000_000 else (1_000_000, ", millions")


def plot_scores(scores: Mapping[str, Aggregate]) -> Figure:
    """
    Draw the interquartile means of agents with their intervals, the first on top.

    Example:
        >>> from dreamzoo.benchmark.results.aggregates import Aggregate
        >>> from dreamzoo.benchmark.results.plot import plot_scores
        >>> plot_scores({"sac": Aggregate(0.5, 0.4, 0.6, seeds=3)}).savefig("scores.png")

    :param scores: by agents
    """
    figure = Figure(figsize=(8, 0.5 * len(scores) + 1.2), layout="constrained")
    axis = figure.subplots()
    known = styles(scores)
    for height, (agent, style) in enumerate(reversed(known.items())):
        score = scores[agent]
        axis.plot([score.low, score.high], [height] * 2, color=style.color, linewidth=6, alpha=0.4)
        axis.plot(score.iqm, height, "o", color=style.color)
    axis.set_ylim(-0.6, len(known) - 0.4)
    axis.set_yticks(range(len(known)), [style.name for style in reversed(known.values())])
    axis.set_xlabel("interquartile mean of returns from 0 to 1, interval of 95 %")
    axis.grid(axis="x", alpha=0.3)
    return figure


def plot_tasks(
    own: Iterable[Evaluation], frames: Mapping[str, int], folder: Path
) -> dict[str, Path]:
    """
    Write a picture of each task.

    :param own: evaluations of runs
    :param frames: tasks, and where curves end
    :param folder: for the pictures
    :return: their files by tasks
    """
    own = list(own)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {task: folder / f"{task.replace('/', '-')}.png" for task in frames}
    for task, path in paths.items():
        plot_results(own, {task: frames[task]}).savefig(path, dpi=DPI)
    return paths
