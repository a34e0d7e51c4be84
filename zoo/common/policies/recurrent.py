"""Policies that remember: SB3's ``predict(obs, state, episode_start)`` for any recurrent agent."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn
from typing_extensions import Self, Unpack

from dreamzoo.common.arguments import (
    POLICY_DEFAULTS,
    PolicyPlumbing,
    documented,
    refuse_unknown,
)
from dreamzoo.common.policies.inputs import ExtractorEncoder
from dreamzoo.common.policies.memory_layout import MemoryLayout
from dreamzoo.common.policies.optimizers import BUILT, make_optimizer
from dreamzoo.common.policies.recorded_acting import Manner, RecordedActing, named
from dreamzoo.common.policies.saved import SavedPolicy
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.checks import InputError, ObservationChecker, to_flags
from dreamzoo.nn.fast import graphs
from dreamzoo.nn.fast.switch import is_traced
from dreamzoo.nn.observations import SINGLE, Observation, ObservationCodec
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.settings import Flag, Setting, read_settings
from dreamzoo.nn.state import State


class Choice(Protocol):
    """How actions follow from states."""

    def __call__(
        self, latent: State, generator: th.Generator | None, deterministic: bool
    ) -> th.Tensor:
        """Choose actions in replay form, (n, dims), for latents (n, ...)."""


class RecurrentPolicy(SavedPolicy, BasePolicy):
    """
    Acts with a memory; knows nothing of what computes it.

    Subclasses build their networks, then call :meth:`_set_optimizer`; they implement
    :meth:`initial_state` and :meth:`act`. What an agent remembers is any NamedTuple of tensors,
    batch axis first, also of such tuples. What a policy is built with is recorded here, for
    ``save`` and ``load``; what it lists in ``settings`` is checked here.

    :param observation_space: observation space
    :param action_space: action space
    :param optimizer_class: optimizer of all networks
    :param optimizer_kwargs: of that class
    :param plumbing: what all policies share, see :class:`PolicyPlumbing`
    """

    #: What its products multiply, see :class:`Plumbing`; an agent passes its own on.
    precision: str = "auto"
    #: Whether :meth:`predict` repeats recorded graphs on CUDA; an agent passes its own on.
    cuda_graph: bool = True
    #: What arguments may be.
    settings: ClassVar[Mapping[str, Setting]] = {"images": Flag(), **BUILT}
    #: What the outermost constructor was given.
    _arguments: dict[str, Any]
    _memory: MemoryLayout | None = None
    _optimizer_names: tuple[str, ...] = ("optimizer",)
    #: Has no content, and lies where the networks are.
    _place: Tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__doc__" in vars(cls):
            cls.__doc__ = documented(cls.__doc__, cls.__signature__.parameters)

    def __new__(cls, *args: Any, **kwargs: Any) -> "RecurrentPolicy":
        policy = super().__new__(cls)
        # Here, where nothing has been popped, added or replaced on the way to the base.
        given = dict(zip(cls.__signature__.parameters, args, strict=False)) | kwargs
        given.pop("lr_schedule", None)  # not needed for acting
        vars(policy)["_arguments"] = given
        return policy

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        optimizer_class: type[th.optim.Optimizer],
        optimizer_kwargs: dict[str, Any] | None,
        **plumbing: Unpack[PolicyPlumbing],
    ) -> None:
        call, known = f"{type(self).__name__}()", self.__signature__.parameters
        refuse_unknown(call, plumbing, POLICY_DEFAULTS, known, "Nothing was built")
        given = {name: kind for name, kind in self.settings.items() if name in self._arguments}
        read_settings(type(self).__name__, given, self._arguments)
        shared: dict[str, Any] = {**POLICY_DEFAULTS, **plumbing}
        extractor, images = shared.pop("features_extractor_class"), shared.pop("images")
        super().__init__(
            observation_space,
            action_space,
            squash_output=True,
            features_extractor_class=extractor or FlattenExtractor,  # named, as SB3 wants
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            **shared,
        )
        #: The user's own; None: the encoder is the paper's.
        self.own_extractor: type[BaseFeaturesExtractor] | None = extractor
        self.observation_codec = ObservationCodec(
            observation_space, images=images, normalize_images=self.normalize_images
        )
        self.observation_checker = ObservationChecker(self.observation_codec)
        self.action_codec = ActionCodec(action_space)
        self.recorded = RecordedActing()
        self.register_buffer("_place", th.empty(0), persistent=False)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**self._arguments, "lr_schedule": self._dummy_schedule}

    def _own_encoder(self) -> nn.Module | None:
        """Build an encoder from the user's ``features_extractor_class``, if there is one."""
        if self.own_extractor is None:
            return None
        built = self.own_extractor(
            self.observation_codec.seen_space, **self.features_extractor_kwargs
        )
        return ExtractorEncoder(built, self.observation_codec)

    def _show_encoder(self, encoder: nn.Module) -> None:
        """Give an encoder, or the user's extractor in it, the name that SB3 has for it."""
        # Not a second registration: its parameters would be saved twice.
        object.__setattr__(self, "features_extractor", getattr(encoder, "extractor", encoder))

    def _refuse_extractor_kwargs(self) -> None:
        """
        Refuse arguments of an extractor where there is none, and the paper's encoder has its own.

        :raises ValueError: names them
        """
        if self.own_extractor is None and self.features_extractor_kwargs:
            raise ValueError(
                f"features_extractor_kwargs={self.features_extractor_kwargs} belong to a "
                "features_extractor_class, which is not given; this agent's own encoder takes "
                "its widths from the policy's other arguments."
            )

    def _set_optimizer(self, lr_schedule: Schedule, **networks: nn.Module) -> None:
        """
        Make optimizers once all networks are there.

        :param lr_schedule: learning rate
        :param networks: what each optimizer trains, by the name of its attribute; without any,
            ``optimizer`` trains everything
        """
        kind, kwargs = self.optimizer_class, self.optimizer_kwargs
        trained = {name: [*network.parameters()] for name, network in networks.items()}
        for name, parameters in (trained or {"optimizer": self.trained_parameters()}).items():
            setattr(self, name, make_optimizer(kind, parameters, lr_schedule(1), kwargs))
        self._optimizer_names = tuple(networks) or ("optimizer",)

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        """All optimizers by their attributes' names; a policy that makes its own lists them."""
        return {name: getattr(self, name) for name in self._optimizer_names}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """
        Move the networks. Where that makes parameters anew, optimizers take these.

        Between CPU and CUDA parameters stay the objects that they were; of other devices' tensors
        torch makes new ones, and an optimizer would go on with those that nobody reads.
        """
        before = [*self.parameters()]
        super()._apply(fn, recurse)
        new = {id(old): now for old, now in zip(before, self.parameters(), strict=True)}
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["params"] = [new.get(id(p), p) for p in group["params"]]
        return self

    def trained_parameters(self) -> list[nn.Parameter]:
        """List what is updated: everything that is not held fixed."""
        return [p for p in self.parameters() if p.requires_grad]

    def set_training_mode(self, mode: bool) -> None:
        """
        Switch all modules to training or to acting, unless they are there.

        SB3 asks for it at every step, and it takes as long as half a step.

        :param mode: whether to train
        """
        if mode != self.training:
            self.train(mode)

    @property
    def device(self) -> th.device:
        """Where the networks are; SB3's walks through all modules, and acting asks every time."""
        return self._place.device

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def initial_state(self, n: int) -> State:
        """Return what an agent remembers before the first step of n episodes."""

    @abstractmethod
    def act(
        self,
        obs: Observation,
        state: State,
        is_first: th.Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: Choice | None = None,
    ) -> tuple[th.Tensor, State]:
        """Do what :meth:`step` does, with arguments that were checked before."""

    @abstractmethod
    def choose(
        self, latent: State, generator: th.Generator | None = None, deterministic: bool = False
    ) -> th.Tensor:
        """
        Choose actions from what was made of an observation.

        :param latent: (n, ...)
        :param generator: source of randomness
        :param deterministic: take the mode
        :return: actions in replay form, (n, dims)
        """

    def choice(self) -> Hashable:
        """Return what :meth:`choose` depends on beside its arguments and the weights."""
        return ()

    @property
    def memory(self) -> MemoryLayout:
        """Parts of what is remembered."""
        if self._memory is None:
            self._memory = MemoryLayout(self.initial_state(1))
        return self._memory

    def step(
        self,
        obs: Observation,
        state: State,
        is_first: th.Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: Choice | None = None,
    ) -> tuple[th.Tensor, State]:
        """
        Filter one observation and act, all in torch.

        :param obs: observation in the environment's shape and dtype, (n, ...)
        :param state: what was remembered; rows that start an episode are forgotten here
        :param is_first: bool, (n,)
        :param generator: source of randomness; None is torch's global one
        :param deterministic: most likely latent and action: a pure function of the arguments
        :param choose: how to choose; None: :meth:`choose`
        :return: actions in replay form (n, dims) and what to remember
        :raises InputError: for lengths, shapes and dtypes that do not fit; for values on a CPU only
        """
        self._check_step(obs, state, is_first)
        return self.act(obs, state, is_first, generator, deterministic=deterministic, choose=choose)

    def act_on_arrays(
        self,
        obs: np.ndarray | dict[str, np.ndarray],
        memory: State,
        is_first: np.ndarray,
        manner: Manner,
    ) -> tuple[np.ndarray, State]:
        """
        Act, as :meth:`act` does, on observations of the host.

        :param obs: (n, ...)
        :param memory: on the policy's device
        :param is_first: bool, (n,)
        :param manner: how
        :return: actions in replay form, (n, dims), and what to remember
        """
        if graphs.is_far(self.device):
            return self.recorded.keeping(self, named(obs), memory, is_first, manner)
        action, after = self.act(
            obs_as_tensor(obs, self.device),
            memory,
            th.as_tensor(is_first),
            manner.generator,
            deterministic=manner.deterministic,
            choose=manner.choose,
        )
        return action.numpy(), after

    def to_env_action(self, action: np.ndarray) -> np.ndarray:
        """
        Turn actions in replay form into what the environment takes.

        :param action: (n, dims)
        :return: (n, *action_space.shape), dtype of the space
        :raises ValueError: for values that are no actions, such as NaN
        """
        return self.action_codec.to_env(action)

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """Turn actions of a Box into [-1, 1], see :class:`ActionCodec`, (..., *shape)."""
        return self.action_codec.from_env(action).reshape(action.shape)

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """Turn actions from [-1, 1] into those of a Box, see :class:`ActionCodec`."""
        codec = self.action_codec
        lead = scaled_action.shape[: scaled_action.ndim - len(codec.shape)]
        return codec.to_env(scaled_action.reshape(*lead, codec.replay_dim))

    @restores_process
    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        *,
        choose: Choice | None = None,
        fixed: Hashable | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Choose actions for observations; pass the returned state to the next call.

        :param observation: one observation or a batch of n
        :param state: what the last call returned; None starts new episodes in every row
        :param episode_start: rows whose state is to be forgotten, (n,) bool
        :param deterministic: most likely latent and action instead of samples
        :param choose: how to choose actions; None: as the agent does
        :param fixed: what ``choose`` depends on beside its arguments and the policy's weights; with
            that, it is recorded on CUDA, see :class:`dreamzoo.nn.fast.graphs.Graph`
        :return: actions, and the state: the memory's parts, (n, size) each; of a world-model agent
            its latent and the previous action
        :raises InputError: for observations, states and flags that the space, the model or the
            number of rows exclude. Vectors outside the bounds of a Box are let in, as in SB3
        """
        self.set_training_mode(False)
        if isinstance(observation, tuple) and [*map(type, observation)][1:] == [dict]:
            raise ValueError(
                "You have passed a tuple to predict() instead of a numpy array or a dict. You are "
                "probably mixing Gym API with SB3 VecEnv API: `obs, info = env.reset()` (Gym), "
                "`obs = vec_env.reset()` (SB3 VecEnv)."
            )
        arrays, vectorized = self.observation_checker.to_arrays(observation)
        n, device = len(next(iter(arrays.values()))), self.device
        is_first = np.zeros(n, bool)
        if episode_start is not None:
            is_first = to_flags(episode_start, n, "episode_start")
        if state is None:
            is_first = np.ones(n, bool)
            flat = self.memory.zeros(n)
        else:
            flat = self.memory.check_arrays(state, n)
        if graphs.is_far(device):
            fixed = self.choice() if choose is None else fixed
            manner = Manner(None, deterministic, choose, fixed)
            action, memory = self.recorded.to_host(self, arrays, flat, is_first, manner)
        else:
            chosen, after = self.act(
                self._to_tensors(arrays),
                self.memory.unpack([*map(th.from_numpy, flat)]),
                th.from_numpy(is_first),
                deterministic=deterministic,
                choose=choose,
            )
            action = chosen.numpy()
            memory = self.memory.pack(after)
        actions = self.to_env_action(action)
        return actions if vectorized else actions.squeeze(axis=0), memory

    def obs_to_tensor(
        self, observation: np.ndarray | dict[str, np.ndarray]
    ) -> tuple[Observation, bool]:
        """
        Turn one observation or a batch into tensors on the policy's device, if it can be read.

        :param observation: one observation or a batch of n
        :return: tensors (n, ...) in the dtypes of the space, and whether it was a batch
        :raises InputError: says what does not fit
        """
        arrays, is_batch = self.observation_checker.to_arrays(observation)
        return self._to_tensors(arrays), is_batch

    def _to_tensors(self, arrays: dict[str, np.ndarray]) -> Observation:
        device = self.device
        tensors = {name: th.as_tensor(x, device=device) for name, x in arrays.items()}
        return tensors if self.observation_codec.is_dict else tensors[SINGLE]

    def _check_step(self, obs: Observation, state: State, is_first: th.Tensor) -> None:
        """Refuse arguments of :meth:`step` that do not belong together."""
        (n,) = self.observation_checker.check(obs)
        for part in obs.values() if isinstance(obs, dict) else (obs,):
            if not isinstance(part, th.Tensor):
                found = f"{type(part).__name__}; expected tensors. predict() takes arrays"
                raise InputError("observation that is no tensor", found)
        if not isinstance(is_first, th.Tensor) or is_first.dtype != th.bool:
            raise InputError("is_first of another kind", f"{is_first!r}; expected torch.bool")
        if is_first.shape != (n,):
            shape = tuple(is_first.shape)
            raise InputError(f"unexpected is_first shape {shape}", f"expected ({n},)")
        self.memory.check_tensors(state, n)

    def _predict(self, observation: Observation, deterministic: bool = False) -> th.Tensor:
        """Act on the first observation of episodes; BasePolicy asks for a memoryless form."""
        first = next(iter(observation.values())) if isinstance(observation, dict) else observation
        n = first.shape[0]  # a traced length is a number of its own
        is_first = th.ones(n, dtype=th.bool, device=self.device)
        # Values cannot be checked while torch records what is computed.
        step = self.act if is_traced() else self.step
        return step(observation, self.initial_state(n), is_first, deterministic=deterministic)[0]

    def forward(self, obs: Observation, deterministic: bool = False) -> th.Tensor:
        return self._predict(obs, deterministic)
