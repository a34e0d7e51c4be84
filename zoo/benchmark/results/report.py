"""One page with all that runs have scored, in a file that needs no other."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from dreamzoo.analysis.html_page import html_page, html_table, image, note, preformatted
from dreamzoo.benchmark.results.aggregates import aggregates, find_task
from dreamzoo.benchmark.results.evaluations import Evaluation, final_returns, short_name
from dreamzoo.benchmark.results.plot import plot_results, plot_scores
from dreamzoo.benchmark.results.styles import styles
from dreamzoo.benchmark.results.table import result_table, rounded, windows_of


def report(
    own: Iterable[Evaluation],
    frames: Mapping[str, int],
    *,
    title: str,
    window: int | None = None,
    commands: Sequence[str] = (),
) -> str:
    """
    Write a page in HTML with the table, a picture for each task and the returns of every seed.

    Example:
        >>> from dreamzoo.benchmark.results import Evaluation
        >>> from dreamzoo.benchmark.results.report import report
        >>> row = Evaluation("sac", "Pendulum-v1", 0, 900, 900, -150.5, 9.0, 10, 1, "abc")
        >>> page = report([row], {"Pendulum-v1": 900}, title="SAC")
        >>> page.count("<img "), "http" in page
        (1, False)

    :param own: evaluations of runs
    :param frames: tasks, in order, and the frames at which their returns are shown
    :param title: of the page
    :param window: frames before, over whose evaluations is averaged; None: of each task its own
    :param commands: that made the runs, to be shown
    """
    shown = [row for row in own if row.task in frames]
    table = result_table(shown, frames, window)
    windows = windows_of(frames, window)
    scores = aggregates(shown, frames, windows)
    parts = []
    if len(frames) > 1:
        links = (f'<a href="#{_anchor(t)}">{escape(short_name(t))}</a>' for t in frames)
        parts.append(f"<nav>{' '.join(links)}</nav>")
    parts += [html_table(table.heads, table.rows), note(table.caption)]
    if scores:
        parts += ["<h2>All tasks</h2>", image(plot_scores(scores), "Scores over all tasks")]
    for task, end in frames.items():
        parts += _task(shown, task, end, windows[task])
    if commands:
        parts += ["<h2>How to make it again</h2>", preformatted("\n".join(commands))]
    return html_page(title, parts)


def _task(shown: list[Evaluation], task: str, end: int, window: int) -> list[str]:
    """Write what belongs to one task."""
    parts = [f'<h2 id="{_anchor(task)}">{escape(task)}</h2>']
    parts.append(image(plot_results(shown, {task: end}), f"Learning curves on {task}"))
    rows = []
    for agent, style in styles(row.agent for row in shown if row.task == task).items():
        curves = [row for row in shown if (row.agent, row.task) == (agent, task)]
        finals = final_returns(curves, end, window)
        for seed in sorted({row.seed for row in curves}):
            last = max((row for row in curves if row.seed == seed), key=lambda row: row.frames)
            final = rounded(finals[seed])[0] if seed in finals else "-"
            (newest,) = rounded(last.mean_return)
            cells = [style.name, str(seed), final, newest, f"{last.frames:,}", last.commit]
            rows.append(cells)
    heads = ["agent", "seed", f"last {window:,} frames", "last evaluation", "frames", "commit"]
    parts.append(html_table(heads, rows))
    known = find_task(task)
    if known is not None and known.returns:
        others = ", ".join(
            f"{who.replace('_', ' ')} {f'{value:,}'.removesuffix('.0')}"
            for who, value in known.returns.items()
        )
        parts.append(note(f"Known of this task: {others} (agents at the end of training)."))
    return parts


def _anchor(task: str) -> str:
    return task.replace("/", "-")
