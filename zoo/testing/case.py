"""An agent under test: its class, an environment, and arguments that make it small."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from dreamzoo.testing.random_env import ACTION, VECTOR, RandomEnv

#: Environment, or how to make it.
MakeEnv = Callable[[], gym.Env]

#: What makes SB3's own agents small, as far as their constructors know the names.
SMALL_OFF_POLICY = {"buffer_size": 1_000, "learning_starts": 10, "batch_size": 8}
SMALL_ON_POLICY = {"n_steps": 8, "batch_size": 8, "n_epochs": 2}

#: Action spaces that are tried on agents that do not name theirs, the first that is taken counts.
ACTION_SPACES: tuple[spaces.Space, ...] = (
    ACTION,
    spaces.Discrete(3),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiBinary(2),
)

LENGTH = 10  # steps of an episode


class Case:
    """
    An agent under test, with all that is needed to make it again and again.

    Arguments are, from the weakest to the strongest: small sizes that fit SB3's own agents, the
    class attribute ``smallest``, and what is passed here.

    Example:
        >>> from dreamzoo import PlaNet
        >>> from dreamzoo.testing import CHECKS, Case
        >>> case = Case(PlaNet, batch_size=3)
        >>> CHECKS["episode_starts_forget"](case)
        >>> case.make(n_envs=2).batch_size
        3

    :param agent_class: the agent's class
    :param env: gymnasium id, or a function that makes the environment; episodes are cut after ten
        steps. None: random vectors, and the first action space that the agent takes
    :param policy: alias or class; None: the alias that fits the observations
    :param steps: after so many steps of one environment a small agent has learned something
    :param second_device: a device to move to beside the CPU; None: CUDA, or MPS, if there is one
    :param settings: arguments of the constructor
    """

    def __init__(
        self,
        agent_class: type[BaseAlgorithm],
        env: str | MakeEnv | None = None,
        policy: str | type | None = None,
        steps: int = 24,
        second_device: str | None = None,
        **settings: Any,
    ) -> None:
        if not (isinstance(agent_class, type) and issubclass(agent_class, BaseAlgorithm)):
            raise TypeError(f"{agent_class!r} is no class of agents; pass a BaseAlgorithm of SB3.")
        if not (env is None or isinstance(env, str) or callable(env)):
            raise TypeError(
                f"env={env!r} must be a gymnasium id or a function that makes an environment: "
                "checks need several of it."
            )
        self.agent_class = agent_class
        self.policy = policy
        self.steps = steps
        self.settings = {**self._small(), **getattr(agent_class, "smallest", {}), **settings}
        self._env = env
        self._second_device = second_device

    def _small(self) -> dict[str, Any]:
        on_policy = issubclass(self.agent_class, OnPolicyAlgorithm)
        off_policy = issubclass(self.agent_class, OffPolicyAlgorithm)
        sizes: Mapping[str, Any] = SMALL_ON_POLICY if on_policy else {}
        sizes = SMALL_OFF_POLICY if off_policy else sizes
        return {name: value for name, value in sizes.items() if name in self.parameters}

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What the agent's constructor takes, by name."""
        return inspect.signature(self.agent_class).parameters

    # ------------------------------------------------------------------ environments

    @cached_property
    def action_space(self) -> spaces.Space:
        """The space of the default environment: the first of four kinds that the agent takes."""
        taken = getattr(self.agent_class, "action_spaces", None)
        for space in ACTION_SPACES:
            if isinstance(space, taken) if taken else self._takes(space):
                return space
        raise TypeError(f"{self.agent_class.__name__} takes none of {ACTION_SPACES}; pass env=.")

    def _takes(self, space: spaces.Space) -> bool:
        try:
            self.make(env=RandomEnv(VECTOR, space))
        except AssertionError as error:  # of BaseAlgorithm, which names what is supported
            if "supports" in str(error):
                return False
            raise
        return True

    def takes(self, space: spaces.Space) -> bool:
        """Return whether the agent acts in a space, by its own word or by trying."""
        taken = getattr(self.agent_class, "action_spaces", None)
        return isinstance(space, taken) if taken else self._takes(space)

    def make_single_env(self) -> gym.Env:
        """Make one environment, watched by a Monitor, with episodes of at most ten steps."""
        env: gym.Env
        if self._env is None:
            env = RandomEnv(VECTOR, self.action_space, LENGTH)
        else:
            env = gym.make(self._env) if isinstance(self._env, str) else self._env()
            env = gym.wrappers.TimeLimit(env, LENGTH)
        return Monitor(env)

    def make_env(self, n_envs: int = 1, seed: int = 0) -> DummyVecEnv:
        """Make so many environments, seeded."""
        env = DummyVecEnv([self.make_single_env] * n_envs)
        env.seed(seed)
        return env

    def other_env(self) -> gym.Env:
        """Make an environment of other spaces than the agent knows."""
        return RandomEnv(spaces.Box(-1.0, 1.0, (5,), np.float32), self.action_space)

    def observations(self, n: int, seed: int = 0) -> Any:
        """Draw observations of n environments, as a VecEnv returns them."""
        space = self.actor.observation_space
        space.seed(seed)
        rows = [space.sample() for _ in range(n)]
        if isinstance(space, spaces.Dict):
            return {key: np.stack([row[key] for row in rows]) for key in space.spaces}
        return np.stack(rows)

    # ------------------------------------------------------------------ agents

    def make(
        self, n_envs: int = 1, env: gym.Env | VecEnv | None = None, **settings: Any
    ) -> BaseAlgorithm:
        """
        Make an agent.

        :param n_envs: environments, if none is passed
        :param env: its environment; None: :meth:`make_env`
        :param settings: arguments that replace those of the case
        """
        env = self.make_env(n_envs) if env is None else env
        make: Any = self.agent_class
        policy = self.policy or policy_for(env.observation_space)
        return make(
            policy, env, **{"seed": 0, "device": "cpu", **deepcopy(self.settings), **settings}
        )

    def learn(self, agent: BaseAlgorithm, **arguments: Any) -> BaseAlgorithm:
        """Let an agent learn until something was updated."""
        return agent.learn(self.total(agent), **arguments)

    def total(self, agent: BaseAlgorithm) -> int:
        """Return steps of all environments after which an agent was updated twice at least."""
        if isinstance(agent, OnPolicyAlgorithm):
            rollout = agent.n_steps * agent.n_envs
            return max(2, -(-self.steps // rollout)) * rollout
        return self.steps * agent.n_envs

    @cached_property
    def trained(self) -> BaseAlgorithm:
        """An agent that has learned; checks leave it as it is."""
        return self.learn(self.make())

    @cached_property
    def actor(self) -> BaseAlgorithm:
        """
        An agent whose actions depend on what it sees and remembers; checks leave it as it is.

        A fresh one may ignore both, its last layers being almost zero.
        """
        agent = self.make()
        generator = th.Generator().manual_seed(1)
        with th.no_grad():
            for parameter in agent.policy.parameters():
                scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
                noise = scale * th.randn(parameter.shape, generator=generator)
                parameter.add_(noise.to(parameter.device, parameter.dtype))
        return agent

    @cached_property
    def has_memory(self) -> bool:
        """Whether ``predict`` returns a state."""
        return self.actor.predict(self.observations(1))[1] is not None

    @property
    def second_device(self) -> str | None:
        """A device beside the CPU."""
        if self._second_device is None and th.cuda.is_available():
            return "cuda"
        if self._second_device is None and th.backends.mps.is_available():
            return "mps"
        return self._second_device

    def with_env(self, env: MakeEnv, policy: str | None = None) -> "Case":
        """Return the same agent in other environments."""
        make = partial(Case, self.agent_class, env, policy, self.steps, self._second_device)
        return make(**self.settings)


def policy_for(space: spaces.Space) -> str:
    """Return SB3's name of the policy that reads a space."""
    if isinstance(space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(space) else "MlpPolicy"


def row(obs: Any, i: int) -> Any:
    """Return one environment's observation of a batch, as a batch of one."""
    return {k: v[i : i + 1] for k, v in obs.items()} if isinstance(obs, dict) else obs[i : i + 1]


def alone(obs: Any, i: int) -> Any:
    """Return one environment's observation of a batch, without the batch's axis."""
    return {k: v[i] for k, v in obs.items()} if isinstance(obs, dict) else obs[i]
