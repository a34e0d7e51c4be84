"""How well a model predicts episodes that it has not learned from."""

import numpy as np
import torch as th

from dreamzoo.analysis.horizon_errors import HorizonError, horizon_errors
from dreamzoo.analysis.open_loop import OpenLoop, open_loop_at
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
    Let a model follow recorded episodes up to some step, and go on with the actions alone.

    :func:`dreamzoo.analysis.horizon_errors.table` writes the errors as a table. Of
    :class:`~dreamzoo.common.recording.StoredEpisodes` only those are read that are drawn from.

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
    :param length: steps that are predicted, and ``context``; fewer where the episode ends
    :param context: the least number of observations that the model has seen; it always sees the
        episode from its beginning, as when it acts
    :param sequences: their number, drawn from all steps of the recording that have as many before
    :param seed: of the choice of sequences and of the model's samples
    :return: one for every horizon that a sequence reaches, the nearest first
    :raises ValueError: for other spaces than the model's, values outside of them, and episodes that
        are all too short
    """
    if not 0 < context < length:
        raise ValueError(f"context={context} must be at least 1 and less than length={length}.")
    counts = np.maximum(recording.lengths + 1 - context, 0)  # of steps that something follows
    ends = np.cumsum(counts)
    if not ends[-1]:
        raise ValueError(
            f"No episode of {recording.name} goes on after context={context} observations."
        )
    drawn = np.random.default_rng(seed).integers(ends[-1], size=sequences)
    episodes = np.searchsorted(ends, drawn, side="right")
    moments = th.from_numpy(drawn - (ends - counts)[episodes] + context - 1)
    generator = th.Generator(device=model.device).manual_seed(seed)
    shown, over = zip(
        *(
            open_loop_at(
                model.policy,
                model.read_episode(recording, i),
                moments[episodes == i],
                length - context,
                generator,
            )
            for i in np.unique(episodes).tolist()
        ),
        strict=True,
    )
    return horizon_errors(OpenLoop.joined(shown), th.cat(over))
