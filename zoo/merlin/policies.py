"""Networks of MERLIN as Stable-Baselines3 policies."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
import torch.nn as nn
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import PolicyPlumbing
from dreamzoo.common.policies.hears_rewards import HearsRewards
from dreamzoo.common.policies.inputs import ImageInput, VectorInput
from dreamzoo.common.policies.recurrent import Choice as ChooseActions
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.merlin.actor import ReadOnlyActor, described
from dreamzoo.merlin.external_memory import ExternalMemoryPolicy
from dreamzoo.merlin.sizes import Size, get_size
from dreamzoo.merlin.world_model import MerlinWorldModel
from dreamzoo.nn.beliefs import Gaussian
from dreamzoo.nn.memory.external import ExternalMemory, Rows
from dreamzoo.nn.memory.predictor import MemoryBasedPredictor, PredictorState, Step, tanh_mlp
from dreamzoo.nn.memory.reader import Reading
from dreamzoo.nn.networks.heads import ActionDistribution
from dreamzoo.nn.networks.merlin import MerlinDecoder, MerlinEncoder
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.process import in_own_precision
from dreamzoo.nn.settings import Flag, Number, Setting, Whole
from dreamzoo.nn.state import concatenate, flatten, select, stack, zeroed


class MerlinState(NamedTuple):
    """
    What MERLIN remembers between two steps.

    :param latent: of the predictor, with the external memory, (n, ...)
    :param prev_action: encoded action chosen then, (n, A)
    :param own: of the policy's network, (n, ...)
    """

    latent: PredictorState
    prev_action: Tensor
    own: Reading


class Unrolled(NamedTuple):
    """
    A window gone through again, with gradient.

    What the predictor has seen is N = n * T steps of n rows, row by row, then the K last
    observations of episodes, on which nothing was done.

    :param z: of the steps alone, (n, T, Z)
    :param context: of the policy's network, (n, T, C)
    :param actions: encoded, (n, T, A)
    :param seen_z: (N + K, Z)
    :param post: what these were drawn from, (N + K, Z)
    :param prior: what was expected of them, (N + K, Z)
    :param targets: network inputs that they should reproduce, (N + K, ...)
    :param prev_actions: encoded, (N + K, A)
    :param prev_rewards: (N + K,)
    :param is_first: bool, steps that nothing came before, (N + K,)
    :param is_terminal: bool, observations with which an episode ended for good, (N + K,)
    :param reads: how the policy read in the last step, see :meth:`MemoryReader.describe`
    """

    z: Tensor
    context: Tensor
    actions: Tensor
    seen_z: Tensor
    post: Gaussian
    prior: Gaussian
    targets: dict[str, Tensor]
    prev_actions: Tensor
    prev_rewards: Tensor
    is_first: Tensor
    is_terminal: Tensor
    reads: dict[str, Tensor]


class MerlinPolicy(HearsRewards, WorldModelPolicy, ExternalMemoryPolicy):
    """
    Memory-based predictor, its decoders and return prediction, and the policy that reads it.

    The previous action and the previous reward are part of what MERLIN observes. Actions it
    remembers; ``learn`` tells it rewards. ``predict`` is told none, and believes what the
    predictor expects; to show it the true ones, wrap the environment in
    :class:`dreamzoo.wrappers.VecPreviousActionReward`, whose observations ``predict`` takes, too.

    Example:
        >>> from dreamzoo import MERLIN
        >>> policy = MERLIN("MlpPolicy", "CartPole-v1", policy_kwargs=dict(rows=100)).policy
        >>> sorted(policy.optimizers), policy.world_model.dynamics.memory.rows
        (['actor_optimizer', 'optimizer'], 100)

    :param observation_space: observation space; images are resized to 64x64, those of less than 36
        pixels read as they are
    :param action_space: Discrete, MultiDiscrete or MultiBinary; Box, which the paper has none of
    :param lr_schedule: learning rate of the predictor
    :param size: ``small``, ``paper`` or a :class:`Size`
    :param rows: of the memory; None: the size's. 0 leaves it out (ablation). An episode of more
        steps forgets what was read least
    :param retroactive: whether rows also gather what followed them; False is an ablation
    :param retro_gamma: discount of what follows, below 1; the algorithm passes its ``gamma``, or
        0.99 if that is 1
    :param mask_unwritten: leave rows out of reading that were never written; the paper does not
    :param stochastic: draw z; False takes its mean, and leaves the KL term out (ablation)
    :param memory_write_grad: let gradients within a window flow through what is written
    :param optimizer_class: optimizers of predictor and policy, one for each
    :param optimizer_kwargs: of that class; by default an epsilon of 1e-6
    """

    steps_behind = 1
    world_model: MerlinWorldModel
    settings: ClassVar[Mapping[str, Setting]] = {
        **WorldModelPolicy.settings,
        "rows": Whole(0, none=True),
        "retroactive": Flag(),
        "retro_gamma": Number(0, 1),
        "mask_unwritten": Flag(),
        "stochastic": Flag(),
        "memory_write_grad": Flag(),
    }

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        size: str | Size = "small",
        rows: int | None = None,
        retroactive: bool = True,
        retro_gamma: float = 0.96,
        mask_unwritten: bool = True,
        stochastic: bool = True,
        memory_write_grad: bool = False,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **plumbing: Unpack[PolicyPlumbing],
    ) -> None:
        if optimizer_kwargs is None and optimizer_class is th.optim.Adam:
            optimizer_kwargs = dict(eps=1e-6)
        super().__init__(
            observation_space, action_space, optimizer_class, optimizer_kwargs, **plumbing
        )
        widths, codec, acting = get_size(size), self.observation_codec, self.action_codec
        self.stochastic = stochastic
        self._refuse_extractor_kwargs()
        images = widths.image_net, widths.image_features
        encoder = self._own_encoder() or MerlinEncoder(codec, widths.vector_widths, *images)
        dynamics = MemoryBasedPredictor(
            int(encoder.features_dim),  # type: ignore[arg-type]
            acting.dim,
            widths.latents,
            widths.units,
            widths.layers,
            widths.heads,
            widths.rows if rows is None else rows,
            widths.widths,
            retro_gamma if retroactive else None,
            mask_unwritten=mask_unwritten,
            sample=stochastic,
            write_grad=memory_write_grad,
        )
        decoder = MerlinDecoder(codec, widths.latents, *images)
        self._set_world_model(MerlinWorldModel(codec, encoder, dynamics, decoder, acting.dim))
        self.actor = ReadOnlyActor(
            widths.latents,
            widths.units,
            widths.layers,
            widths.policy_heads,
            dynamics.memory,
            widths.policy_width,
            acting,
        )
        description = acting.dim if acting.is_discrete else 2 * acting.dim
        z, hidden = widths.latents, ([widths.value_width], [widths.advantage_width])
        self.value_head = tanh_mlp(z + description, hidden[0], 1)
        self.advantage_head = tanh_mlp(z + acting.dim, hidden[1], 1)
        predictor = nn.ModuleList([self.world_model, self.value_head, self.advantage_head])
        self._set_optimizer(lr_schedule, optimizer=predictor, actor_optimizer=self.actor)

    @property
    def external_memory(self) -> ExternalMemory | None:
        return self.world_model.dynamics.memory

    def rows_of(self, state: MerlinState) -> Rows | tuple[()]:
        return state.latent.rows

    def read_weights(self, before: MerlinState, after: MerlinState) -> Tensor:
        return self.actor.reader.weights(after.own, after.latent.rows)

    # ------------------------------------------------------------------ acting

    def initial_state(self, n: int) -> MerlinState:
        latent, own = self.world_model.initial(n), self.actor.reader.initial(n)
        return MerlinState(latent, own.read.new_zeros(n, self.action_codec.dim), own)

    def noted(self, state: MerlinState) -> Tensor:
        return state.latent.noise

    def filter(
        self,
        obs: Observation,
        state: MerlinState,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> MerlinState:
        """
        Take an observation into account: predictor first, then the policy's network.

        :param obs: (n, ...)
        :param state: after the step before
        :param is_first: bool, (n,)
        :param generator: source of randomness
        :param mode: take the most likely z
        """
        latent = self.world_model.observe(
            state.latent, state.prev_action, obs, is_first, generator, mode=mode
        )
        own = zeroed(is_first, state.own)
        return MerlinState(latent, state.prev_action, self.actor.attend(latent, own))

    @th.no_grad()
    @in_own_precision
    def act(
        self,
        obs: Observation,
        state: MerlinState,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: ChooseActions | None = None,
    ) -> tuple[Tensor, MerlinState]:
        after = self.filter(obs, state, is_first, generator, mode=deterministic)
        if choose is None:
            action = self.choose(after, generator, deterministic)
        else:  # it knows states of the model, not of this policy
            action = choose(after.latent, generator, deterministic)
        return action, after._replace(prev_action=self.action_codec.encode(action))

    def choose(
        self,
        latent: MerlinState,
        generator: th.Generator | None = None,
        deterministic: bool = False,
    ) -> Tensor:
        distribution = self.actor(latent.latent.z, latent.own.context)
        return distribution.mode() if deterministic else distribution.sample(generator)

    def predict_values(self, obs: Observation, state: MerlinState, is_first: Tensor) -> Tensor:
        after = self.filter(obs, state, is_first, mode=True)
        return self.judge(after.latent.z, self.actor(after.latent.z, after.own.context))

    def judge(self, z: Tensor, distribution: ActionDistribution) -> Tensor:
        """
        Predict the return that follows under a policy: V of the paper.

        :param z: (..., Z)
        :param distribution: of actions, (..., A); a constant here
        :return: (...)
        """
        return self.value_head(th.cat([z, described(distribution)], dim=-1))[..., 0]

    def judge_action(self, z: Tensor, action: Tensor) -> Tensor:
        """
        Predict how much more than that an action earns: A of the paper.

        :param z: (..., Z)
        :param action: encoded, (..., A)
        :return: (...)
        """
        return self.advantage_head(th.cat([z, action], dim=-1))[..., 0]

    # ------------------------------------------------------------------ learning

    def unroll(self, window: RolloutWindow, generator: th.Generator | None = None) -> Unrolled:
        """
        Go through a window again, with the noise that was drawn then.

        The last observations of episodes follow: a reward that comes with an end is seen there
        and nowhere else.

        :param window: (n, T)
        :param generator: source of the noise of these last observations
        """
        model, (n, length) = self.world_model, window.is_first.shape
        targets = model.inputs(window.all_observations())
        tokens = model.encoder(targets)
        here, ahead = tokens.split([n * length, len(tokens) - n * length])
        start: MerlinState = window.start
        actions = self.action_codec.encode(window.actions)
        prev_actions = th.cat([start.prev_action[:, None], actions[:, :-1]], dim=1)
        prev_rewards = th.cat([start.latent.reward[:, None], window.rewards[:, :-1]], dim=1)
        given = start.latent, prev_actions, here.view(n, length, -1), window.is_first
        assert window.notes is not None
        steps = model.dynamics.filter(*given, window.notes.unbind(1), prev_rewards)
        ends, act, reward = self._filter_ends(window, steps, ahead, actions, generator)
        z = th.stack([step.z for step in steps], dim=1)
        post = stack([step.post for step in steps], dim=1)
        prior = stack([step.prior for step in steps], dim=1)
        nowhere = th.zeros_like(window.endings.is_terminal)
        own = self._attended(steps, window)
        return Unrolled(
            z=z,
            context=th.stack([x.context for x in own], dim=1),
            actions=actions,
            seen_z=th.cat([z.flatten(0, 1), ends.z]),
            post=_followed(post, ends.post),
            prior=_followed(prior, ends.prior),
            targets=targets,
            prev_actions=th.cat([prev_actions.flatten(0, 1), act]),
            prev_rewards=th.cat([prev_rewards.flatten(), reward]),
            is_first=th.cat([window.is_first.flatten(), nowhere]),
            is_terminal=th.cat([nowhere.new_zeros(n * length), window.endings.is_terminal]),
            reads=self._describe_reads(own[-1], steps, window),
        )

    def _describe_reads(
        self, own: Reading, steps: list[Step], window: RolloutWindow
    ) -> dict[str, Tensor]:
        """Describe how policy and predictor read in the last step of a window."""
        reader, (*_, last) = self.world_model.dynamics.reader, steps
        before = steps[-2].state.rows if len(steps) > 1 else window.start.latent.rows
        read = reader.describe(last.state.reading, zeroed(window.is_first[:, -1], before))
        also = {f"predictor_{name}": x for name, x in read.items() if name.startswith("read_")}
        return self.actor.reader.describe(own, last.state.rows) | also

    def _filter_ends(
        self,
        window: RolloutWindow,
        steps: list[Step],
        tokens: Tensor,
        actions: Tensor,
        generator: th.Generator | None,
    ) -> tuple[Step, Tensor, Tensor]:
        """Filter the last observations of episodes; return also what led there, (K, ...)."""
        dynamics, rows, times = self.world_model.dynamics, *window.endings[:2]
        # Step 0 also where no episode ends there: of nothing at all there would be nothing to join.
        before = [select(steps[t].state, rows[times == t]) for t in np.unique([0, *times])]
        action, reward = actions[rows, times], window.rewards[rows, times]
        expected, prior = dynamics.expect(concatenate(before), action)
        noise = dynamics.draw(len(rows), generator)
        return dynamics.correct(expected, prior, tokens, action, reward, noise), action, reward

    def _attended(self, steps: list[Step], window: RolloutWindow) -> list[Reading]:
        """Let the policy's network go through a window again, T times (n, ...)."""
        own: list[Reading] = []
        for step, is_first in zip(steps, window.is_first.unbind(1), strict=True):
            before = own[-1] if own else window.start.own
            own.append(self.actor.attend(step.state, zeroed(is_first, before)))
        return own


def _followed(steps: Gaussian, ends: Gaussian) -> Gaussian:
    """Put the beliefs of last observations, (K, Z), behind those of steps, (n, T, Z)."""
    return concatenate([flatten(steps, 0, 1), ends])


class MlpPolicy(VectorInput, MerlinPolicy):
    """
    For vectors, integers and binaries. An image is flattened, bytes are divided by 255.

    Example:
        >>> from dreamzoo import MERLIN
        >>> agent = MERLIN("MlpPolicy", "CartPole-v1")
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['observation']
    """


class CnnPolicy(ImageInput, MerlinPolicy):
    """
    For one image.

    Example:
        >>> from dreamzoo import MERLIN
        >>> from dreamzoo.envs import make_env
        >>> agent = MERLIN("CnnPolicy", make_env("pixels/CartPole-v1"))
        >>> agent.observation_space.shape  # channels first, as SB3 has them
        (3, 64, 64)
    """


class MultiInputPolicy(MerlinPolicy):
    """
    For a Dict of images, vectors, integers and binaries.

    Example:
        >>> from dreamzoo import MERLIN
        >>> from dreamzoo.envs import make_env
        >>> agent = MERLIN("MultiInputPolicy", make_env("dmc/walker-walk"))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['height', 'orientations', 'velocity']
    """
