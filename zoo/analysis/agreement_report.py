"""A table and a picture of how well a dream agrees with reality."""

import numpy as np

from dreamzoo.analysis.agreement import Agreement
from dreamzoo.envs.errors import requires_extra

with requires_extra("video"):
    from matplotlib.figure import Figure

#: Steps of which the table has a row.
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def agreement_table(result: Agreement) -> str:
    """
    Write the errors at some steps, and the returns here and there, as lines of text.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.analysis.agreement import Agreement
        >>> from dreamzoo.analysis.agreement_report import agreement_table
        >>> error, returns = np.array([0.1, 0.3]), np.array([2.0, 2.0, 1.0])
        >>> result = Agreement(error, error, error, np.array([3, 2]), returns, returns)
        >>> print(agreement_table(result))
          step  running  observation   reward  continue
             1        3        0.100    0.100     0.100
             2        2        0.300    0.300     0.300
        return in the real       1.7 +- 0.6 (s.d.)
        return in the dream      1.7 +- 0.6 (s.d.)
    """
    lines = ["  step  running  observation   reward  continue"]
    for step in (s for s in SHOWN if s <= len(result.running)):
        observation, reward, going = (x[step - 1] for x in result[:3])
        lines.append(
            f"{step:6d} {result.running[step - 1]:8d} {observation:12.3f} {reward:8.3f} "
            f"{going:9.3f}"
        )
    for place, returns in (("real", result.real_returns), ("dream", result.dream_returns)):
        spread = f" +- {returns.std(ddof=1):.1f} (s.d.)" if len(returns) > 1 else ""
        lines.append(f"return in the {place:5s} {returns.mean():8.1f}{spread}")
    return "\n".join(lines)


def agreement_figure(result: Agreement) -> Figure:
    """
    Draw errors over the horizon, and the returns here and there.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.analysis.agreement import Agreement
        >>> from dreamzoo.analysis.agreement_report import agreement_figure
        >>> error, returns = np.array([0.1, 0.3]), np.array([2.0, 2.0, 1.0])
        >>> result = Agreement(error, error, error, np.array([3, 2]), returns, returns)
        >>> figure = agreement_figure(result)
        >>> [axis.get_title() for axis in figure.axes][1:]
        ['reward error', 'continue error', 'return of the policy']
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(2, 2).flatten()
    names = ["observation error, standard deviations", "reward error", "continue error"]
    for axis, name, values in zip(axes, names, result[:3], strict=False):
        axis.plot(np.arange(1, len(values) + 1), values, color="tab:red")
        axis.set_ylim(bottom=0)
        axis.set_title(name, fontsize="medium")
        axis.set_xlabel("step after the last real observation")
    axes[3].boxplot([result.real_returns, result.dream_returns])
    axes[3].set_xticks([1, 2], ["real", "dream"])
    axes[3].set_title("return of the policy", fontsize="medium")
    return figure
