"""Networks of RL-MEM and RL-LSTM as Stable-Baselines3 policies."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

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
from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.merlin.actor import distribution_of
from dreamzoo.merlin.external_memory import ExternalMemoryPolicy
from dreamzoo.merlin.sizes import Size, get_size
from dreamzoo.nn.memory.external import ExternalMemory, Rows
from dreamzoo.nn.memory.predictor import tanh_mlp
from dreamzoo.nn.memory.reader import MemoryReader, Reading
from dreamzoo.nn.networks.heads import ActionDistribution
from dreamzoo.nn.networks.merlin import MerlinEncoder
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.process import in_own_precision
from dreamzoo.nn.settings import Flag, Number, Setting, Whole
from dreamzoo.nn.state import zeroed


class RLMEMState(NamedTuple):
    """
    What RL-MEM remembers between two steps.

    :param reading: of its network
    :param rows: of its memory; an empty tuple without one
    :param prev_action: encoded action chosen last, (n, A)
    :param reward: that this has earned, if ``told``, (n,)
    :param told: whether it is known, 0 or 1, (n,)
    """

    reading: Reading
    rows: Rows | tuple[()]
    prev_action: Tensor
    reward: Tensor
    told: Tensor


class RLMEMPolicy(HearsRewards, ExternalMemoryPolicy):
    """
    LSTM with an external memory, that learns from rewards alone (figure 1b).

    It reads and writes as MERLIN's predictor does; what it writes is a linear output of its LSTM.
    The previous action and reward are part of what it sees. ``predict`` is told no rewards and
    takes 0 for each, unless they are told, see :class:`HearsRewards`.

    Example:
        >>> from dreamzoo import RLMEM
        >>> policy = RLMEM("MlpPolicy", "CartPole-v1", policy_kwargs=dict(rows=100)).policy
        >>> policy.memory_module.rows
        100

    :param observation_space: observation space; images are resized to 64x64, those of less than 36
        pixels read as they are
    :param action_space: Discrete, MultiDiscrete or MultiBinary; Box, which the paper has none of
    :param lr_schedule: learning rate
    :param size: ``small``, ``paper`` or a :class:`Size`, as MERLIN's
    :param rows: of the memory; None: the size's
    :param retroactive: whether rows also gather what followed them
    :param retro_gamma: discount of what follows, below 1; the algorithm passes its ``gamma``, or
        0.99 if that is 1
    :param mask_unwritten: leave rows out of reading that were never written; the paper does not
    :param memory_write_grad: let gradients within a window flow through what is written; without
        them nothing teaches what to write
    :param optimizer_class: optimizer of all networks
    :param optimizer_kwargs: of that class; by default an epsilon of 1e-6
    """

    settings: ClassVar[Mapping[str, Setting]] = {
        **RecurrentPolicy.settings,
        "rows": Whole(0, none=True),
        "retroactive": Flag(),
        "retro_gamma": Number(0, 1),
        "mask_unwritten": Flag(),
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
        memory_write_grad: bool = True,
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
        self.memory_write_grad = memory_write_grad
        self._refuse_extractor_kwargs()
        self.encoder = self._own_encoder() or MerlinEncoder(
            codec, widths.vector_widths, widths.image_net, widths.image_features
        )
        self._show_encoder(self.encoder)
        seen = int(self.encoder.features_dim) + 1 + acting.dim  # type: ignore[arg-type]
        count = widths.rows if rows is None else rows
        self.memory_module: ExternalMemory | None = None
        self.writing: nn.Linear | None = None
        if count:
            gamma = retro_gamma if retroactive else None
            self.memory_module = ExternalMemory(
                count, widths.latents, gamma, mask_unwritten=mask_unwritten
            )
        self.reader = MemoryReader(
            seen, widths.units, widths.layers, widths.heads, self.memory_module
        )
        hidden = self.reader.lstm.out_dim
        if count:
            self.writing = nn.Linear(hidden, widths.latents)
        out = acting.dim if acting.is_discrete else 2 * acting.dim
        self.action_net = tanh_mlp(seen + hidden, [widths.policy_width], out)
        self.value_net = tanh_mlp(seen + hidden, [widths.value_width], 1)
        self._set_optimizer(lr_schedule)

    @property
    def external_memory(self) -> ExternalMemory | None:
        return self.memory_module

    def rows_of(self, state: RLMEMState) -> Rows | tuple[()]:
        return state.rows

    def read_weights(self, before: RLMEMState, after: RLMEMState) -> Tensor:
        return self.reader.weights(after.reading, before.rows)

    # ------------------------------------------------------------------ acting

    def initial_state(self, n: int) -> RLMEMState:
        reading = self.reader.initial(n)
        zero = reading.read.new_zeros(n)
        rows = () if self.memory_module is None else self.memory_module.initial(n)
        action = reading.read.new_zeros(n, self.action_codec.dim)
        return RLMEMState(reading, rows, action, zero, zero)

    def see(self, obs: Observation, lead: int, actions: Tensor, rewards: Tensor) -> Tensor:
        """
        Encode what is observed: the environment, the previous action and what it has earned.

        :param obs: (..., ...) with ``lead`` batch axes
        :param lead: number of batch axes
        :param actions: encoded, (..., A); zero where nothing came before
        :param rewards: (...); the same
        :return: (..., E)
        """
        inputs = self.observation_codec.encode(obs, lead)
        tokens = self.encoder({name: x.flatten(0, lead - 1) for name, x in inputs.items()})
        return th.cat([tokens.view(*rewards.shape, -1), rewards[..., None], actions], dim=-1)

    def follow(self, seen: Tensor, state: RLMEMState) -> tuple[Tensor, RLMEMState]:
        """
        Take what was seen into account: LSTM, reading, writing.

        :param seen: what :meth:`see` returns for one step, (n, E)
        :param state: before it
        :return: what policy and value read, (n, F), and the state after it
        """
        reading, weights = self.reader(seen, state.reading, state.rows)
        hidden, rows = reading.hidden.output, state.rows
        if self.memory_module is not None:
            assert isinstance(rows, Rows)
            assert self.writing is not None
            assert weights is not None
            value = self.writing(hidden)
            value = value if self.memory_write_grad else value.detach()
            rows = self.memory_module.write(rows, value, weights.detach())
        return th.cat([seen, hidden], dim=-1), state._replace(reading=reading, rows=rows)

    def filter(
        self, obs: Observation, state: RLMEMState, is_first: Tensor
    ) -> tuple[Tensor, RLMEMState]:
        """
        Take an observation into account.

        :param obs: (n, ...)
        :param state: after the step before
        :param is_first: bool, (n,)
        :return: as :meth:`follow`
        """
        state = zeroed(is_first, state)
        seen = self.see(obs, 1, state.prev_action, state.told * state.reward)
        return self.follow(seen, state)

    @th.no_grad()
    @in_own_precision
    def act(
        self,
        obs: Observation,
        state: RLMEMState,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: ChooseActions | None = None,
    ) -> tuple[Tensor, RLMEMState]:
        features, after = self.filter(obs, state, is_first)
        action = (choose or self.choose)(features, generator, deterministic)
        silent = th.zeros_like(after.told)
        encoded = self.action_codec.encode(action)
        return action, after._replace(prev_action=encoded, reward=silent, told=silent)

    def choose(
        self, latent: Tensor, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        distribution = self.distribution(latent)
        return distribution.mode() if deterministic else distribution.sample(generator)

    def distribution(self, features: Tensor) -> ActionDistribution:
        """Return the policy, (..., F) to actions (..., A)."""
        return distribution_of(self.action_net(features), self.action_codec)

    def judge(self, features: Tensor) -> Tensor:
        """Predict the return that follows, (..., F) to (...)."""
        return self.value_net(features)[..., 0]

    def predict_values(self, obs: Observation, state: RLMEMState, is_first: Tensor) -> Tensor:
        return self.judge(self.filter(obs, state, is_first)[0])

    # ------------------------------------------------------------------ learning

    def unroll(self, window: RolloutWindow) -> tuple[Tensor, dict[str, Tensor]]:
        """
        Go through a window again, with gradient.

        :param window: (n, T)
        :return: what policy and value follow, (n, T, F), and how the memory was read in the last
            step, see :meth:`MemoryReader.describe`
        """
        state: RLMEMState = window.start
        went_on = ~window.is_first
        actions = self.action_codec.encode(window.actions)
        actions = th.cat([state.prev_action[:, None], actions[:, :-1]], dim=1) * went_on[..., None]
        rewards = th.cat([state.reward[:, None], window.rewards[:, :-1]], dim=1) * went_on
        seen = self.see(window.observations, 2, actions, rewards)
        features, before = [], state
        for step, is_first in zip(seen.unbind(1), window.is_first.unbind(1), strict=True):
            before = zeroed(is_first, state)
            read, state = self.follow(step, before)
            features.append(read)
        return th.stack(features, dim=1), self.reader.describe(state.reading, before.rows)


class MlpPolicy(VectorInput, RLMEMPolicy):
    """
    For vectors, integers and binaries. An image is flattened.

    Example:
        >>> from dreamzoo import RLMEM
        >>> agent = RLMEM("MlpPolicy", "CartPole-v1")
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['observation']
    """


class CnnPolicy(ImageInput, RLMEMPolicy):
    """
    For one image.

    Example:
        >>> from dreamzoo import RLMEM
        >>> from dreamzoo.envs import make_env
        >>> RLMEM("CnnPolicy", make_env("pixels/CartPole-v1")).observation_space.shape
        (3, 64, 64)
    """


class MultiInputPolicy(RLMEMPolicy):
    """
    For a Dict of images, vectors, integers and binaries.

    Example:
        >>> from dreamzoo import RLMEM
        >>> from dreamzoo.envs import make_env
        >>> agent = RLMEM("MultiInputPolicy", make_env("dmc/walker-walk"))
        >>> [key.name for key in agent.policy.observation_codec.keys]
        ['height', 'orientations', 'velocity']
    """
