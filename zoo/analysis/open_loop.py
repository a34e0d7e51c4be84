"""Looking into a world model: open-loop predictions."""

from typing import NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.common.rollout_window import Sequences
from dreamzoo.nn.fast.precision import using
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.state import flatten, map_parts, select


class OpenLoop(NamedTuple):
    """
    What happened and what the model said, observations in the environment's shape and dtype.

    Example:
        >>> import torch
        >>> from dreamzoo.analysis.open_loop import OpenLoop
        >>> truth = torch.zeros(2, 10, 4)  # 2 sequences of 10 steps
        >>> shown = OpenLoop(truth, truth + 0.5, torch.zeros(2, 2, 10), context=3)
        >>> error = (shown.prediction - shown.truth).abs()
        >>> error[:, shown.context :].mean().item()  # of what the model did not see
        0.5

    :param truth: (B, T, ...), one tensor or one for every key
    :param prediction: the same; the first ``context`` steps are reconstructions
    :param reward: true and predicted rewards, (2, B, T)
    :param context: number of steps that the model saw
    """

    truth: Observation
    prediction: Observation
    reward: Tensor
    context: int

    def rows(self, rows: Tensor) -> "OpenLoop":
        """
        Take some of the sequences.

        :param rows: int64, (b,)
        """
        truth, prediction = (
            {k: v[rows] for k, v in obs.items()} if isinstance(obs, dict) else obs[rows]
            for obs in self[:2]
        )
        return OpenLoop(truth, prediction, self.reward[:, rows], self.context)


@restores_process
@th.no_grad()
def open_loop(
    policy: WorldModelPolicy,
    batch: SequenceBatch | Sequences,
    context: int,
    generator: th.Generator | None = None,
) -> OpenLoop:
    """
    Show the model the first steps of real sequences, then let it go on with the actions alone.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.open_loop import open_loop
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> batch = model.learn(60).replay_buffer.sample(2, batch_length=10)
        >>> open_loop(model.policy, batch, context=3).prediction.shape
        torch.Size([2, 10, 4])

    :param policy: owns the model
    :param batch: real sequences (B, T); those without an episode's end are easier to read
    :param context: steps that the model may see, less than T
    :param generator: source of randomness
    :raises ValueError: if nothing is left to predict
    """
    rows, length = batch.is_first.shape
    if not 0 < context < length:
        raise ValueError(f"context={context} must be at least 1 and less than the {length} steps.")
    model, actions = policy.world_model, policy.action_codec.encode(batch.actions)
    # Sequences start anew here: the first step resets the state, whatever was stored.
    is_first = batch.is_first.clone()
    is_first[:, 0] = True
    seen = (actions[:, :context], _part(batch.observations, slice(context)), is_first[:, :context])
    with using(policy.precision, policy.device):
        states = model.filter(model.initial(rows), *seen, generator)
        last = select(states, (slice(None), context - 1))
        unseen = actions[:, context:].transpose(0, 1)  # (T - context, B, A)
        after = select(model.imagine_sequence(last, unseen, generator), slice(1, None))
        whole = map_parts(lambda seen, new: th.cat([seen, new.transpose(0, 1)], 1), states, after)
        flat = model.decode(flatten(whole, 0, 1))
        expected, _ = model.predict(whole)
    prediction = (
        {k: v.unflatten(0, (rows, length)) for k, v in flat.items()}
        if isinstance(flat, dict)
        else flat.unflatten(0, (rows, length))
    )
    reward = th.stack([batch.rewards, expected])
    return OpenLoop(batch.observations, prediction, reward, context)


def _part(obs: Observation, steps: slice) -> Observation:
    if isinstance(obs, dict):
        return {key: value[:, steps] for key, value in obs.items()}
    return obs[:, steps]
