"""A table of runs beside published results."""

from collections.abc import Iterable

import numpy as np

from dreamzoo.benchmark.results import (
    AGENTS,
    METHODS,
    PUBLISHED_WINDOW,
    Evaluation,
    Published,
    final_returns,
    last_window,
    of_task,
    present,
)


def result_table(
    own: list[Evaluation], published: list[Published], tasks: list[str], frames: int, window: int
) -> str:
    """
    Write a markdown table, tasks by agents, and a caption that says what the numbers are.

    Three seeds carry no interval worth its name and no bootstrap (so no rliable): shown are the
    mean over the seeds and the range from the lowest to the highest.

    :param own: evaluations of runs
    :param published: published curves
    :param tasks: rows
    :param frames: at which the returns are shown
    :param window: frames before, over whose evaluations is averaged
    """
    agents = present(own)
    columns = [*agents.values(), *(f"{name}, published" for name in METHODS.values())]
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    ends: dict[str, int] = {}
    for task in tasks:
        cells = [task.rpartition("/")[2]]
        for agent in agents:
            curves = [row for row in own if (row.agent, row.task) == (agent, task)]
            x = final_returns(curves, frames, window)
            cells.append(f"{np.mean(x):.0f} ({min(x):.0f} to {max(x):.0f}; {len(x)})" if x else "-")
        for method, name in METHODS.items():
            row = last_window(of_task(published, task, method), frames)
            cells.append(f"{row.mean:.0f} +- {row.std:.0f} ({row.seeds})" if row else "-")
            if row:
                ends[name] = row.env_frames_window_end
        lines.append("| " + " | ".join(cells) + " |")
    shown = [row for row in own if row.task in tasks and row.agent in AGENTS]
    return "\n".join([*lines, "", caption(shown, ends, frames, window)])


def caption(shown: list[Evaluation], ends: dict[str, int], frames: int, window: int) -> str:
    """
    Explain the numbers of a table.

    :param shown: evaluations that it shows
    :param ends: frames at which the windows of published curves end, by their agents
    :param frames: at which the returns are shown
    :param window: frames before, over whose evaluations is averaged
    """
    episodes = max((row.episodes for row in shown), default=0)
    modes = {AGENTS[r.agent] + (" most likely" if r.deterministic else " sampled") for r in shown}
    commits = {row.commit for row in shown}
    windows = ", ".join(f"{end:,} ({name})" for name, end in ends.items())
    return (
        f"Returns at {frames:,} frames. Own runs: mean over the seeds (lowest to highest; "
        f"number of seeds) of the evaluations in the last {window:,} frames, {episodes} "
        f"episodes each; actions: {listed(modes)}; commits: {listed(commits)}. Published: mean +- "
        "standard deviation over the seeds (their number) in the window of about "
        f"{PUBLISHED_WINDOW:,} frames that ends at {windows or '-'}; DreamerV3 is there the agent "
        "of 2023 at size S, train ratio 512, action repeat 2, its returns those of training "
        "episodes, not of evaluations."
    )


def listed(names: Iterable[str]) -> str:
    """Join names in the order of the alphabet."""
    return ", ".join(sorted(names)) or "-"
