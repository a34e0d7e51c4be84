"""
How to send gradients through a discrete sample: seven estimators behind one call.

A model with any number of stochastic layers is written once, as a function that is handed ``draw``
and returns what each example loses; an :class:`Estimator` decides how samples are drawn and returns
what is to be minimized.
"""

from dreamzoo.nn.estimators.baselines import Centering, InputBaseline
from dreamzoo.nn.estimators.estimator import (
    Discrete,
    Draw,
    Estimate,
    Estimator,
    Objective,
    Pathwise,
    draw_hard,
)
from dreamzoo.nn.estimators.paths import DARN, GumbelSoftmax, SlopeAnnealed, StraightThrough
from dreamzoo.nn.estimators.relaxed import gumbel_noise, relax, threshold
from dreamzoo.nn.estimators.schedules import Cosine, ExponentialSteps, GrowingSlope
from dreamzoo.nn.estimators.scores import MuProp, ScoreFunction

__all__ = [
    "DARN",
    "Centering",
    "Cosine",
    "Discrete",
    "Draw",
    "Estimate",
    "Estimator",
    "ExponentialSteps",
    "GrowingSlope",
    "GumbelSoftmax",
    "InputBaseline",
    "MuProp",
    "Objective",
    "Pathwise",
    "ScoreFunction",
    "SlopeAnnealed",
    "StraightThrough",
    "draw_hard",
    "gumbel_noise",
    "relax",
    "threshold",
]
