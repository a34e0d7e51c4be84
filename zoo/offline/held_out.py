"""How well a model predicts episodes that it has not learned from."""

import numpy as np
import torch as th

from dreamzoo.analysis.horizon_errors import HorizonError, horizon_errors
from dreamzoo.analysis.open_loop import open_loop
from dreamzoo.common.recording import Recording
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm


def held_out_errors(
    model: WorldModelAlgorithm,
    recording: Recording,
    length: int = 50,
    context: int = 5,
    sequences: int = 64,
    seed: int = 0,
) -> list[HorizonError]:
    """
    Let a model see the first steps of recorded sequences and go on with the actions alone.

    :func:`dreamzoo.analysis.horizon_errors.table` writes the errors as a table.

    Example:
        >>> import numpy as np
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.offline import Episode, Recording, held_out_errors
        >>> from gymnasium import spaces
        >>> rows = [np.random.default_rng(i).normal(size=(21, 3)) for i in range(10)]
        >>> played = [Episode(row, np.zeros(20, int), np.ones(20), terminated=True) for row in rows]
        >>> recording = Recording(spaces.Box(-9, 9, (3,)), spaces.Discrete(2), played)
        >>> small = dict(size="debug")
        >>> model = DreamerV3("MlpPolicy", recording.env(), policy_kwargs=small)
        >>> errors = held_out_errors(model, recording, length=10)
        >>> len(errors)
        5

    :param model: agent whose world model predicts
    :param recording: episodes that it has not learned from, see :meth:`Recording.split`
    :param length: steps T of a sequence; where an episode ends, the sequence counts up to there
    :param context: steps that the model sees
    :param sequences: their number, drawn from all steps of the recording
    :param seed: of the choice of sequences and of the model's samples
    :return: one for every horizon that a sequence reaches, the nearest first
    :raises ValueError: for other spaces than the model's
    """
    batch = model.read_sequences(recording, length, sequences, np.random.default_rng(seed))
    generator = th.Generator(device=model.device).manual_seed(seed)
    return horizon_errors(open_loop(model.policy, batch, context, generator), batch.is_first)
