"""Curves of runs beside published ones."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dreamzoo.benchmark.results import (
    COLORS,
    METHODS,
    PUBLISHED_WINDOW,
    Evaluation,
    Published,
    of_task,
    present,
)


def draw(axis: Axes, own: list[Evaluation], published: list[Published], task: str) -> None:
    """Draw the curves of one task."""
    for agent, name in present(own).items():
        by_frames: dict[int, list[float]] = {}
        for row in own:
            if (row.agent, row.task) == (agent, task):
                by_frames.setdefault(row.frames, []).append(row.mean_return)
        x = sorted(by_frames)
        color = COLORS[name]
        axis.plot(x, [np.mean(by_frames[f]) for f in x], color=color, linewidth=2, label=name)
        low, high = ([pick(by_frames[f]) for f in x] for pick in (min, max))
        axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    for method, name in METHODS.items():
        curve = of_task(published, task, method)
        axis.plot(
            # The mean of a window belongs to its middle.
            [row.env_frames_window_end - PUBLISHED_WINDOW / 2 for row in curve],
            [row.mean for row in curve],
            "o--",
            color=COLORS[name],
            markersize=4,
            label=f"{name}, published",
        )


def plot_results(
    own: list[Evaluation], published: list[Published], tasks: list[str], frames: int
) -> Figure:
    """
    Draw one panel for each task: means over the seeds, the range of the seeds, published curves.

    :param own: evaluations of runs
    :param published: published curves
    :param tasks: of dm_control, whose returns lie between 0 and 1,000
    :param frames: at which the curves end
    """
    figure = Figure(figsize=(4 * len(tasks), 4.4), layout="constrained")
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axis, task in zip(panels, tasks, strict=True):
        draw(axis, own, published, task)
        axis.set_title(task.rpartition("/")[2], fontsize=13)
        axis.set_xlabel("frames, thousands", fontsize=12)
        axis.set_xlim(0, frames)
        axis.set_ylim(0, 1_000)  # every return of the suite lies there
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1_000:g}")
        axis.tick_params(labelsize=11)
        axis.grid(alpha=0.3)
    panels[0].set_ylabel("return", fontsize=12)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=2 * len(tasks),
        fontsize=11,
        frameon=False,
    )
    return figure
