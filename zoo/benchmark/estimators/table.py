"""The measured table beside table 1 of the paper."""

import itertools
import math
from statistics import mean, stdev

from dreamzoo.benchmark.estimators.results import COLUMNS, RATES, Column, Row, chosen
from dreamzoo.benchmark.estimators.training import ESTIMATORS

#: Jang et al. 2017, table 1: bounds on the test set of MNIST, nats.
PUBLISHED: dict[Column, dict[str, float]] = {
    column: dict(zip(ESTIMATORS, numbers, strict=True))
    for column, numbers in {
        Column("sbn", "bernoulli"): (72.0, 59.7, 58.9, 58.9, 58.7, 58.5, 59.3),
        Column("sbn", "categorical"): (73.1, 67.9, 63.0, 61.8, 61.1, 59.0, 59.7),
        Column("vae", "bernoulli"): (112.2, 110.9, 109.7, 116.0, 111.5, 105.0, 111.5),
        Column("vae", "categorical"): (110.6, 128.8, 107.0, 110.9, 107.8, 101.5, 107.8),
    }.items()
}
NAMES = {
    "score": "score function",
    "darn": "DARN",
    "muprop": "MuProp",
    "st": "straight-through",
    "slope": "slope-annealed ST",
    "gumbel": "Gumbel-softmax",
    "st_gumbel": "ST Gumbel-softmax",
}
TITLES = {
    Column("sbn", "bernoulli"): "SBN, Bernoulli",
    Column("sbn", "categorical"): "SBN, categorical",
    Column("vae", "bernoulli"): "VAE, Bernoulli",
    Column("vae", "categorical"): "VAE, categorical",
}
#: Student's t for 95 %, by the number of seeds.
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def interval(values: list[float]) -> float:
    """
    Compute half the width of the 95 % interval of a mean over seeds.

    Example:
        >>> from dreamzoo.benchmark.estimators.table import interval
        >>> round(interval([59.0, 60.0, 61.0]), 2)
        2.48

    :param values: of two to ten seeds; of one nothing is known
    """
    if len(values) < 2:
        return math.inf
    return STUDENT[len(values)] * stdev(values) / math.sqrt(len(values))


def estimator_table(rows: list[Row]) -> str:
    """
    Write a markdown table: bounds on the test set with their intervals, and the paper's.

    Below it stands what agrees with the paper: column by column, which pairs of estimators come in
    the same order.

    :param rows: finished cells
    """
    titles = [TITLES[column] for column in COLUMNS]
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for estimator, name in NAMES.items():
        shown = [_number(rows, column, estimator) for column in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    lines += ["", _caption(rows), ""]
    for column in COLUMNS:
        lines += agreement(rows, column)
    return "\n".join(lines)


def _number(rows: list[Row], column: Column, estimator: str) -> str:
    tests, paper = _tests(rows, column, estimator), f"({PUBLISHED[column][estimator]:.1f})"
    if not tests:
        return f"{'diverged' if chosen(rows, column, estimator) else '-'} {paper}"
    spread = f" +- {interval(tests):.1f}" if len(tests) > 1 else ""
    return f"{mean(tests):.1f}{spread} {paper}"


def _tests(rows: list[Row], column: Column, estimator: str) -> list[float]:
    """Collect the bounds on the test set of the seeds that have not diverged."""
    return [row.test for row in chosen(rows, column, estimator) if math.isfinite(row.valid)]


def _caption(rows: list[Row]) -> str:
    kept = [chosen(rows, column, name) for column in COLUMNS for name in NAMES]
    counts = [len(tests) for c in COLUMNS for name in NAMES if (tests := _tests(rows, c, name))]
    seeds = " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "no"
    edges = [runs[0] for runs in kept if runs and runs[0].rate in (RATES[0], RATES[-1])]
    at_edge = ", ".join(f"{TITLES[Column(*r[:2])]} {NAMES[r.estimator]}" for r in edges) or "none"
    commits = ", ".join(sorted({row.commit for row in rows})) or "-"
    return (
        "Nats on the test images, lower is better: mean +- 95 % interval over "
        f"{seeds} seeds, in parentheses table 1 of Jang et al. "
        "(2017), which learned ten times as many digits. Learning rates at an end of what was "
        f"tried: {at_edge}. {len(rows)} trainings, "
        f"{sum(row.seconds for row in rows) / 60:.0f} minutes of one core; commits: {commits}."
    )


def agreement(rows: list[Row], column: Column) -> list[str]:
    """
    Compare a column's order with the paper's.

    :param rows: finished cells
    :param column: of the table
    :return: lines of a list: best and worst, pairs in the same order, pairs surely in the other
    """
    runs = {name: _tests(rows, column, name) for name in NAMES}
    means = {name: mean(tests) for name, tests in runs.items() if tests}
    if len(means) < 2:
        return []
    paper = PUBLISHED[column]
    order, theirs = (sorted(means, key=of.__getitem__) for of in (means, paper))
    differ = [
        (one, other)
        for one, other in itertools.combinations(means, 2)
        if (means[one] - means[other]) * (paper[one] - paper[other]) < 0
    ]
    surely = [
        f"{NAMES[one]} and {NAMES[other]}"
        for one, other in differ
        if abs(means[one] - means[other]) > interval(runs[one]) + interval(runs[other])
    ]
    pairs = sum(paper[x] != paper[y] for x, y in itertools.combinations(means, 2))
    return [
        f"- {TITLES[column]}: best {NAMES[order[0]]} (paper: {NAMES[theirs[0]]}), worst "
        f"{NAMES[order[-1]]} (paper: {NAMES[theirs[-1]]}); {pairs - len(differ)} of {pairs} pairs "
        f"in the paper's order; in the other, beyond both intervals: {', '.join(surely) or 'none'}."
    ]
