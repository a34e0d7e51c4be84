"""RL-LSTM's settings: MERLIN's, without those of a model."""

from dreamzoo.hyperparams.merlin import SHARED, small

hyperparams = small(SHARED)
