"""The measured table as a picture."""

from statistics import mean

from dreamzoo.benchmark.estimators.results import COLUMNS, Row, chosen
from dreamzoo.benchmark.estimators.table import NAMES, PUBLISHED, TITLES, interval
from dreamzoo.envs.errors import requires_extra

with requires_extra("estimators"):
    from matplotlib.figure import Figure


def plot_estimators(rows: list[Row]) -> Figure:
    """
    Draw one panel a column: each estimator's bounds beside the paper's, best at the top.

    Circles are the seeds, bars the 95 % interval of their mean, hollow squares the paper's numbers,
    which have an axis of their own: they come from ten times as many digits.

    :param rows: finished cells
    """
    figure = Figure(figsize=(13, 7), layout="constrained")
    for axis, column in zip(figure.subplots(2, 2).flat, COLUMNS, strict=True):
        runs = {name: [r.test for r in chosen(rows, column, name)] for name in NAMES}
        order = sorted(NAMES, key=PUBLISHED[column].__getitem__, reverse=True)
        above = axis.twiny()
        for height, name in enumerate(order):
            tests = runs[name]
            if len(tests) > 1:
                axis.errorbar(
                    mean(tests), height, xerr=interval(tests), color="tab:blue", capsize=4
                )
            axis.plot(tests, [height] * len(tests), "o", color="tab:blue", alpha=0.6)
            above.plot(
                PUBLISHED[column][name], height, "s", color="tab:red", markerfacecolor="none"
            )
        axis.set_yticks(range(len(order)), [NAMES[name] for name in order])
        axis.set_xlabel("measured, nats on 500 test digits", color="tab:blue")
        above.set_xlabel(f"{TITLES[column]}: table 1 of the paper, nats", color="tab:red")
        axis.grid(alpha=0.3)
    return figure
