"""Curves of runs beside published ones."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dreamzoo.benchmark.results import METHODS, Evaluation, Published, of_task, short_name, styles

COLUMNS = 4


def draw(axis: Axes, own: list[Evaluation], published: list[Published], task: str) -> None:
    """Draw the curves of one task."""
    for agent, style in styles(own).items():
        by_frames: dict[int, list[float]] = {}
        for row in own:
            if (row.agent, row.task) == (agent, task):
                by_frames.setdefault(row.frames, []).append(row.mean_return)
        x = sorted(by_frames)
        if not x:
            continue
        means = [np.mean(by_frames[f]) for f in x]
        axis.plot(x, means, color=style.color, linewidth=2, label=style.name)
        low, high = ([pick(by_frames[f]) for f in x] for pick in (min, max))
        axis.fill_between(x, low, high, color=style.color, alpha=0.15, linewidth=0)
    for method, of_method in METHODS.items():
        curve = of_task(published, task, method)
        if not curve:
            continue
        axis.plot(
            # The mean of a window belongs to its middle.
            [row.frames - row.window / 2 for row in curve],
            [row.mean for row in curve],
            "o--",
            color=of_method.color,
            markersize=4,
            label=of_method.name,
        )


def plot_results(
    own: list[Evaluation], published: list[Published], frames: dict[str, int]
) -> Figure:
    """
    Draw one panel for each task: means over the seeds, the range of the seeds, published curves.

    :param own: evaluations of runs
    :param published: published curves
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
        draw(axis, own, published, task)
        axis.set_title(short_name(task), fontsize=13)
        axis.set_xlabel("frames, thousands", fontsize=12)
        axis.set_xlim(0, end)
        if task.startswith("dmc"):
            axis.set_ylim(0, 1_000)  # every return of the suite lies there
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1_000:g}")
        axis.tick_params(labelsize=11)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("return", fontsize=12)
    handles = {
        name: handle
        for axis in panels
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), max(3, 2 * columns)),
        fontsize=11,
        frameon=False,
    )
    return figure
