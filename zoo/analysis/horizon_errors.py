"""How wrong a model's open-loop predictions are, the further it looks ahead."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dreamzoo.analysis.open_loop import OpenLoop
from dreamzoo.nn.observations import SINGLE


class HorizonError(NamedTuple):
    """
    Root mean squared errors of predictions that look equally far ahead.

    Observations and rewards are in the units in which the agent gets them: normalized, if it was
    trained within a ``VecNormalize``.

    :param horizon: steps ahead of the last observation that the model saw
    :param sequences: whose episode has not ended by then
    :param predicted: error of the model by observation key
    :param unchanged: error of saying that the last seen observation stays
    :param reward: error of the predicted reward
    """

    horizon: int
    sequences: int
    predicted: dict[str, float]
    unchanged: dict[str, float]
    reward: float


def horizon_errors(shown: OpenLoop, is_first: Tensor) -> list[HorizonError]:
    """
    Compare predictions with the truth, one horizon after another.

    A dream does not begin anew where an episode ends, so that a sequence counts up to there.

    Example:
        >>> import torch
        >>> from dreamzoo.analysis.horizon_errors import horizon_errors
        >>> from dreamzoo.analysis.open_loop import OpenLoop
        >>> truth = torch.arange(5.0).expand(2, 5)[..., None]  # 2 sequences of 5 steps: 0, 1, 2...
        >>> shown = OpenLoop(truth, truth + 0.5, torch.zeros(2, 2, 5), context=2)
        >>> is_first = torch.zeros(2, 5, dtype=torch.bool)
        >>> is_first[1, 4] = True  # another episode
        >>> for error in horizon_errors(shown, is_first):
        ...     print(error.horizon, error.sequences, error.predicted, error.unchanged)
        1 2 {'observation': 0.5} {'observation': 1.0}
        2 2 {'observation': 0.5} {'observation': 2.0}
        3 1 {'observation': 0.5} {'observation': 3.0}

    :param shown: of sequences (B, T)
    :param is_first: of the same sequences: the first steps of episodes, (B, T)
    :return: one for every horizon that a sequence reaches, the nearest first
    """
    running = np.logical_and.accumulate(~is_first[:, shown.context :].cpu().numpy(), axis=1)
    truth, predicted = (_numbers(obs) for obs in (shown.truth, shown.prediction))
    reward, expected = shown.reward.cpu().numpy()
    found = []
    for i in range(running.shape[1]):
        rows, step, last = running[:, i], shown.context + i, shown.context - 1
        if not rows.any():
            break
        now = {key: x[rows, step] for key, x in truth.items()}
        found.append(
            HorizonError(
                horizon=i + 1,
                sequences=int(rows.sum()),
                predicted={k: _distance(predicted[k][rows, step], now[k]) for k in truth},
                unchanged={k: _distance(truth[k][rows, last], now[k]) for k in truth},
                reward=_distance(expected[rows, step], reward[rows, step]),
            )
        )
    return found


def table(errors: Sequence[HorizonError], horizons: Sequence[int] = (1, 2, 5, 10, 20, 40)) -> str:
    """
    Write errors as a table in Markdown, and the furthest one in any case.

    Example:
        >>> from dreamzoo.analysis.horizon_errors import HorizonError, table
        >>> errors = [HorizonError(1, 8, {"observation": 0.1}, {"observation": 0.4}, 0.0)]
        >>> print(table(errors))
        | steps ahead | sequences | observation | if nothing changed | reward |
        | --- | --- | --- | --- | --- |
        | 1 | 8 | 0.1 | 0.4 | 0 |

    :param errors: of :func:`horizon_errors`
    :param horizons: that are shown, where there are such
    :return: empty if there are none
    """
    shown = [e for e in errors if e.horizon in horizons or e is errors[-1]]
    if not shown:
        return ""
    parts = [name for key in shown[0].predicted for name in (key, "if nothing changed")]
    lines = [["steps ahead", "sequences", *parts, "reward"], ["---"] * (len(parts) + 3)]
    for e in shown:
        pairs = zip(e.predicted.values(), e.unchanged.values(), strict=True)
        numbers = [x for pair in pairs for x in pair]
        lines.append(
            [f"{e.horizon}", f"{e.sequences}", *(f"{x:.3g}" for x in [*numbers, e.reward])]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _numbers(obs: Tensor | dict[str, Tensor]) -> dict[str, np.ndarray]:
    parts = obs if isinstance(obs, dict) else {SINGLE: obs}
    return {key: value.detach().cpu().numpy().astype(np.float64) for key, value in parts.items()}


def _distance(predicted: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(predicted - truth))))
