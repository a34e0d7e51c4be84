"""The memory-based predictor of MERLIN: a state-space model whose state has an external memory."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Belief, Gaussian
from dreamzoo.nn.memory.external import ExternalMemory, Rows
from dreamzoo.nn.memory.reader import MemoryReader, Reading
from dreamzoo.nn.rssm.dynamics import Dynamics
from dreamzoo.nn.state import State, stack, zeroed


class PredictorState(NamedTuple):
    """
    What the predictor knows once it has seen an observation, and has not acted on it yet.

    :param z: what was drawn from the belief about this step, (n, Z)
    :param noise: unit normal, with which it was drawn, (n, Z)
    :param reading: what z was predicted from: the LSTM after the action that led here
    :param rows: memory, which z is not yet part of; an empty tuple without one
    :param reward: that the action after z has earned, if ``told``, (n,)
    :param told: whether it is known, 0 or 1, (n,)
    :param fresh: whether this is before the first observation of an episode, 0 or 1, (n,)
    """

    z: Tensor
    noise: Tensor
    reading: Reading
    rows: Rows | tuple[()]
    reward: Tensor
    told: Tensor
    fresh: Tensor

    @property
    def feat(self) -> Tensor:
        """Features that all heads read: z alone, (n, Z)."""
        return self.z


class Step(NamedTuple):
    """
    One step of filtering.

    :param state: after the observation
    :param prior: what was expected of z, (n, Z)
    :param post: what z was drawn from, (n, Z)
    """

    state: PredictorState
    prior: Gaussian
    post: Gaussian

    @property
    def z(self) -> Tensor:
        """What was drawn, (n, Z)."""
        return self.state.z


#: Says what was earned, (n,), from the state before an observation and the prior of its z.
RewardOf = Callable[[PredictorState, Gaussian], Tensor]


def told_reward(state: PredictorState, prior: Gaussian) -> Tensor:
    """Return the reward that a state was told, (n,); zero without one."""
    return state.told * state.reward


class MemoryBasedPredictor(Dynamics):
    """
    Gaussian state-space model with an external memory (MERLIN, figure 1c; Methods 2.4 to 2.6).

    A step has two halves. :meth:`expect` takes the action: an LSTM reads z, the action and what it
    has read last, then reads the memory anew, and z is written into that; the prior follows from
    what the LSTM knows. :meth:`correct` takes the observation: the posterior's mean and
    log-variance are those of the prior plus a correction. The last layer of the correction starts
    at zero, so that at first nothing is believed but what was expected.

    What is written is a constant to those who read it, unless ``write_grad``: the gradient of
    reading reaches keys and strengths.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.memory import MemoryBasedPredictor
        >>> predictor = MemoryBasedPredictor(6, 2, latents=3, units=8, rows=10)
        >>> state = predictor.imagine_step(predictor.initial(4), torch.zeros(4, 2))
        >>> state.z.shape, state.rows.content.shape
        (torch.Size([4, 3]), torch.Size([4, 10, 6]))

    :param token_dim: width E of encoded observations
    :param action_dim: width A of encoded actions
    :param latents: number Z of latents
    :param units: width of an LSTM layer
    :param layers: of the LSTM
    :param heads: reads K at every step
    :param rows: of the memory; 0 leaves the memory out
    :param widths: hidden layers of prior and correction
    :param retro_gamma: see :class:`ExternalMemory`
    :param mask_unwritten: see :class:`ExternalMemory`
    :param sample: False takes the posterior's mean for z
    :param write_grad: let gradients flow through what is written
    """

    #: Bounds of the logarithms of variances.
    LOG_VARIANCES = (-10.0, 4.0)

    def __init__(
        self,
        token_dim: int,
        action_dim: int,
        latents: int = 200,
        units: int = 256,
        layers: int = 2,
        heads: int = 3,
        rows: int = 1350,
        widths: Sequence[int] = (400, 400),
        retro_gamma: float | None = 0.96,
        *,
        mask_unwritten: bool = True,
        sample: bool = True,
        write_grad: bool = False,
    ) -> None:
        super().__init__(layers * units, latents, 1)
        self.sample, self.write_grad = sample, write_grad
        self.memory: ExternalMemory | None = None
        if rows:
            self.memory = ExternalMemory(rows, latents, retro_gamma, mask_unwritten=mask_unwritten)
        self.reader = MemoryReader(latents + action_dim, units, layers, heads, self.memory)
        known, both = self.reader.context_dim, 2 * latents
        self.prior = tanh_mlp(known, widths, both)
        self.correction = tanh_mlp(token_dim + 1 + action_dim + known + both, widths, both)
        last = self.correction[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def initial(self, n: int) -> PredictorState:  # type: ignore[override]
        reading = self.reader.initial(n)
        z, zero = reading.read.new_zeros(n, self.stoch), reading.read.new_zeros(n)
        rows = () if self.memory is None else self.memory.initial(n)
        return PredictorState(z, z, reading, rows, zero, zero, zero + 1.0)

    # ------------------------------------------------------------------ one step

    def expect(self, state: PredictorState, action: Tensor) -> tuple[PredictorState, Gaussian]:
        """
        Take an action into account, and say what is expected to follow it.

        :param state: before it; nothing follows from a fresh one
        :param action: encoded, (n, A)
        :return: the state, whose z is still the last one, and the prior of the next
        """
        seen = th.cat([state.z, action], dim=-1)
        reading, weights = self.reader(seen, state.reading, state.rows)
        rows = state.rows
        if self.memory is not None:
            assert isinstance(rows, Rows)
            z = state.z if self.write_grad else state.z.detach()
            rows = self.memory.write(rows, z, weights.detach())
        moved = zeroed(state.fresh.bool(), state._replace(reading=reading, rows=rows))
        moved = moved._replace(fresh=state.fresh)
        return moved, self._belief(self.prior(moved.reading.context))

    def correct(
        self,
        state: PredictorState,
        prior: Gaussian,
        token: Tensor,
        action: Tensor,
        reward: Tensor,
        noise: Tensor,
    ) -> Step:
        """
        Take an observation into account, with the action and the reward that came before it.

        :param state: what :meth:`expect` returned
        :param prior: that, too
        :param token: encoded observation, (n, E)
        :param action: encoded, (n, A); not looked at in a fresh state
        :param reward: (n,); the same
        :param noise: unit normal, with which z is drawn, (n, Z)
        """
        went_on = 1.0 - state.fresh[:, None]
        expected = th.cat([prior.mean, 2.0 * prior.std.log()], dim=-1)
        seen = token, went_on * reward[:, None], went_on * action, state.reading.context, expected
        post = self._belief(expected + self.correction(th.cat(seen, dim=-1)))
        return Step(self._drawn(state, post, noise), prior, post)

    def _belief(self, parameters: Tensor) -> Gaussian:
        mean, log_variance = parameters.chunk(2, dim=-1)
        return Gaussian(mean, (0.5 * log_variance.clamp(*self.LOG_VARIANCES)).exp())

    def _drawn(self, state: PredictorState, belief: Gaussian, noise: Tensor) -> PredictorState:
        z = belief.mean + belief.std * noise if self.sample else belief.mean
        zero = th.zeros_like(state.told)
        return state._replace(z=z, noise=noise, reward=zero, told=zero, fresh=zero)

    def draw(self, n: int, generator: th.Generator | None = None, *, mode: bool = False) -> Tensor:
        """Draw the noise of n states, (n, Z); zeros for the most likely ones."""
        like = next(self.parameters())
        if mode or not self.sample:
            return like.new_zeros(n, self.stoch)
        return th.randn(n, self.stoch, generator=generator, device=like.device)

    # ------------------------------------------------------------------ many steps

    def _path(  # type: ignore[override]
        self, states: list[PredictorState], feat: Tensor
    ) -> PredictorState:
        """Join states to one of (1 + H, N, ...); features are z alone, and no state."""
        return stack(states, 0)

    def split(self, feat: Tensor) -> PredictorState:  # type: ignore[override]
        """Refuse: z alone is no state."""
        raise TypeError("Features of this model are z alone; no state follows from them.")

    def filter(
        self,
        state: PredictorState,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        noise: Sequence[Tensor],
        rewards: Tensor | RewardOf,
    ) -> list[Step]:
        """
        Filter sequences, with gradient through time.

        :param state: before the first step, (n, ...)
        :param prev_actions: encoded, ``prev_actions[:, t]`` led to ``tokens[:, t]``, (n, T, A)
        :param tokens: encoded observations, (n, T, E)
        :param is_first: bool, steps before which everything is forgotten, (n, T)
        :param noise: unit normal, of T steps, (n, Z) each
        :param rewards: that came with the observations, (n, T); or what says so
        :return: one of every step
        """
        steps = []
        for t, drawn in enumerate(noise):
            at = slice(None), t
            state = state._replace(
                fresh=th.maximum(state.fresh, is_first[at].to(state.fresh.dtype))
            )
            expected, prior = self.expect(state, prev_actions[at])
            reward = rewards[at] if isinstance(rewards, Tensor) else rewards(expected, prior)
            step = self.correct(expected, prior, tokens[at], prev_actions[at], reward, drawn)
            steps.append(step)
            state = step.state
        return steps

    def observe(  # type: ignore[override]
        self,
        latent: PredictorState,
        prev_actions: Tensor,
        tokens: Tensor,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
        rewards: Tensor | RewardOf = told_reward,
    ) -> tuple[PredictorState, Belief[Gaussian]]:
        n, length = is_first.shape
        noise = [self.draw(n, generator, mode=mode) for _ in range(length)]
        steps = self.filter(latent, prev_actions, tokens, is_first, noise, rewards)
        states, priors, posts = zip(*steps, strict=True)
        return stack(states, 1), Belief(stack(posts, 1), lambda: stack(priors, 1))

    def imagine_step(  # type: ignore[override]
        self,
        latent: PredictorState,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> PredictorState:
        expected, prior = self.expect(latent, action)
        return self._drawn(expected, prior, self.draw(action.shape[0], generator, mode=mode))

    def entropy(self, latent: State) -> Tensor:
        return self._belief(self.prior(latent.reading.context)).entropy()


def tanh_mlp(in_dim: int, widths: Sequence[int], out_dim: int) -> nn.Sequential:
    """
    Stack fully connected layers with tanh between them.

    :param in_dim: inputs
    :param widths: hidden layers
    :param out_dim: outputs
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(in_dim, width), nn.Tanh()]
        in_dim = width
    return nn.Sequential(*layers, nn.Linear(in_dim, out_dim))
