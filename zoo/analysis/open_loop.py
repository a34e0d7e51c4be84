"""Looking into a world model: open-loop predictions."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch as th
from torch import Tensor

from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.common.rollout_window import Sequences
from dreamzoo.nn.fast.precision import using
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.state import State, flatten, map_parts, select


class OpenLoop(NamedTuple):
    """
    What happened and what the model said, observations in the environment's shape and dtype.

    Within a ``VecNormalize`` both are in its units.

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
    :param reward: true and predicted rewards, both as the agent has learned them, (2, B, T)
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
        truth, prediction = (_each(obs, lambda part: part[rows]) for obs in self[:2])
        return OpenLoop(truth, prediction, self.reward[:, rows], self.context)

    @staticmethod
    def joined(parts: "Sequence[OpenLoop]") -> "OpenLoop":
        """
        Put sequences of one length below each other.

        :param parts: at least one, with the same context
        """
        truth = _joined([part.truth for part in parts])
        prediction = _joined([part.prediction for part in parts])
        reward = th.cat([part.reward for part in parts], dim=1)
        return OpenLoop(truth, prediction, reward, parts[0].context)


@restores_process
@th.no_grad()
def open_loop(
    policy: WorldModelPolicy,
    batch: SequenceBatch | Sequences,
    context: int,
    generator: th.Generator | None = None,
    begin: State | None = None,
) -> OpenLoop:
    """
    Show the model the first steps of real sequences, then let it go on with the actions alone.

    A model that always remembers, as one that learns from stored latents, is lost where it begins
    anew in the midst of an episode: give it the states that it would have there.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.open_loop import open_loop
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> batch = model.learn(60).replay_buffer.sample(2, batch_length=10)
        >>> open_loop(model.policy, batch, context=3).prediction.shape
        torch.Size([2, 10, 4])

    :param policy: owns the model
    :param batch: real sequences (B, T), as the agent learns from them: normalized, if it did. Those
        without an episode's end are easier to read
    :param context: steps that the model may see, less than T
    :param generator: source of randomness
    :param begin: states that precede the sequences, (B, ...); None: they begin anew, whatever
        ``is_first`` says
    :raises ValueError: if nothing is left to predict
    """
    rows, length = batch.is_first.shape
    if not 0 < context < length:
        raise ValueError(f"context={context} must be at least 1 and less than the {length} steps.")
    model, actions = policy.world_model, policy.action_codec.encode(batch.actions)
    is_first = batch.is_first.clone()
    if begin is None:
        begin, is_first[:, 0] = model.initial(rows), True
    begun = _each(batch.observations, lambda part: part[:, :context])
    seen = (actions[:, :context], begun, is_first[:, :context])
    with using(policy.precision, policy.device):
        states = model.filter(begin, *seen, generator)
        last = select(states, (slice(None), context - 1))
        unseen = actions[:, context:].transpose(0, 1)  # (T - context, B, A)
        after = select(model.imagine_sequence(last, unseen, generator), slice(1, None))
        whole = map_parts(lambda seen, new: th.cat([seen, new.transpose(0, 1)], 1), states, after)
        flat = model.decode(flatten(whole, 0, 1))
        expected, _ = model.predict(whole)
    prediction = _each(flat, lambda part: part.unflatten(0, (rows, length)))
    reward = th.stack([model.as_learned(batch.rewards), expected])
    return OpenLoop(batch.observations, prediction, reward, context)


@restores_process
@th.no_grad()
def state_after(
    policy: WorldModelPolicy,
    batch: SequenceBatch | Sequences,
    begin: State,
    generator: th.Generator | None = None,
) -> State:
    """
    Let the model follow whole sequences: the states in which those that come after them begin.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.open_loop import open_loop, state_after
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> batch = model.learn(60).replay_buffer.sample(2, batch_length=10)
        >>> begin = state_after(model.policy, batch, model.start_latent(batch))
        >>> begin.deter.shape
        torch.Size([2, 8])

    :param policy: owns the model
    :param batch: (B, T)
    :param begin: states that precede them, (B, ...)
    :param generator: source of randomness
    :return: (B, ...)
    """
    actions = policy.action_codec.encode(batch.actions)
    with using(policy.precision, policy.device):
        states = policy.world_model.filter(
            begin, actions, batch.observations, batch.is_first, generator
        )
    return select(states, (slice(None), -1))


@restores_process
@th.no_grad()
def open_loop_at(
    policy: WorldModelPolicy,
    episode: SequenceBatch,
    moments: Tensor,
    steps: int,
    generator: th.Generator | None = None,
) -> tuple[OpenLoop, Tensor]:
    """
    Let the model follow an episode from its first step, and go on with the actions alone.

    As when it acts, it knows all that came before.

    Example:
        >>> import torch
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.open_loop import open_loop_at
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> episode = model.learn(60).replay_buffer.sample(1, batch_length=10)
        >>> shown, over = open_loop_at(model.policy, episode, torch.tensor([2, 7]), steps=4)
        >>> shown.prediction.shape, over[1].tolist()  # after step 9 there is nothing
        (torch.Size([2, 5, 4]), [False, False, False, True, True])

    :param policy: owns the model
    :param episode: one row of all n steps and the observation before them, (1, n + 1)
    :param moments: last steps that the model sees, int64, (B,)
    :param steps: how far it goes on from each, H
    :param generator: source of randomness
    :return: sequences of one seen step and H unseen ones, (B, 1 + H), and which of these lie
        behind the end of the episode, (B, 1 + H)
    """
    model, actions = policy.world_model, policy.action_codec.encode(episode.actions)
    last = actions.shape[1] - 1
    index = moments.to(actions.device)[:, None] + th.arange(steps + 1, device=actions.device)
    over, index = index > last, index.clamp(max=last)
    with using(policy.precision, policy.device):
        states = model.filter(
            model.initial(1), actions, episode.observations, episode.is_first, generator
        )
        seen = select(states, (0, index[:, 0]))
        unseen = actions[0][index[:, 1:]].transpose(0, 1)  # (H, B, A)
        dreamed = model.imagine_sequence(seen, unseen, generator)  # (1 + H, B, ...)
        whole = map_parts(lambda part: part.transpose(0, 1), dreamed)
        flat = model.decode(flatten(whole, 0, 1))
        expected, _ = model.predict(whole)
    truth = _each(episode.observations, lambda part: part[0][index])
    prediction = _each(flat, lambda part: part.unflatten(0, index.shape))
    reward = th.stack([model.as_learned(episode.rewards[0])[index], expected])
    return OpenLoop(truth, prediction, reward, context=1), over


def _each(obs: Observation, change: Callable[[Tensor], Tensor]) -> Observation:
    """Change every part of observations alike."""
    if isinstance(obs, dict):
        return {key: change(part) for key, part in obs.items()}
    return change(obs)


def _joined(parts: Sequence[Observation]) -> Observation:
    """Put observations below each other."""
    if isinstance(parts[0], dict):
        return {key: th.cat([part[key] for part in parts]) for key in parts[0]}  # type: ignore[index]
    return th.cat(parts)  # type: ignore[arg-type]
