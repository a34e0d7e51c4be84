"""One page with all that runs have scored, in a file that needs no other."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO

from dreamzoo.benchmark.results.aggregates import aggregates, find_task
from dreamzoo.benchmark.results.evaluations import Evaluation, final_returns, short_name
from dreamzoo.benchmark.results.plot import DPI, Figure, plot_results, plot_scores
from dreamzoo.benchmark.results.styles import styles
from dreamzoo.benchmark.results.table import result_table, rounded, windows_of

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 70rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #1a1a1a; }
img { max-width: 100%; height: auto; }
.note { color: #555; font-size: 0.9rem; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; white-space: nowrap; }
pre { background: #f4f4f4; padding: 0.6rem 0.8rem; overflow-x: auto; }
"""


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
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(frames) > 1:
        links = (f'<a href="#{_anchor(t)}">{escape(short_name(t))}</a>' for t in frames)
        parts.append(f"<nav>{' '.join(links)}</nav>")
    parts += [_table(table.heads, table.rows), _note(table.caption)]
    if scores:
        parts += ["<h2>All tasks</h2>", _image(plot_scores(scores), "Scores over all tasks")]
    for task, end in frames.items():
        parts += _task(shown, task, end, windows[task])
    if commands:
        parts += ["<h2>How to make it again</h2>", f"<pre>{escape(chr(10).join(commands))}</pre>"]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _task(shown: list[Evaluation], task: str, end: int, window: int) -> list[str]:
    """Write what belongs to one task."""
    parts = [f'<h2 id="{_anchor(task)}">{escape(task)}</h2>']
    parts.append(_image(plot_results(shown, {task: end}), f"Learning curves on {task}"))
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
    parts.append(_table(heads, rows))
    known = find_task(task)
    if known is not None and known.returns:
        others = ", ".join(
            f"{who.replace('_', ' ')} {f'{value:,}'.removesuffix('.0')}"
            for who, value in known.returns.items()
        )
        parts.append(_note(f"Known of this task: {others} (agents at the end of training)."))
    return parts


def _anchor(task: str) -> str:
    return task.replace("/", "-")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(cells, "td") for cells in rows)
    return (
        f'<div class="wide"><table><thead>{line(heads, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _image(figure: Figure, title: str) -> str:
    """Put a picture into the page itself."""
    with BytesIO() as file:
        figure.savefig(file, format="png", dpi=DPI)
        data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{data}">'
