"""Acting where the environments are: copies of the agent in their workers, and news for these."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecMonitor,
    VecTransposeImage,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvWrapper

from dreamzoo.common.policies.recorded_acting import Manner
from dreamzoo.envs.remote.vec_env import RemoteVecEnv
from dreamzoo.nn.state import State, leaves

if TYPE_CHECKING:
    from dreamzoo.common.replay_agent import ReplayAgent

#: Wrappers that leave alone what an agent sees.
TRANSPARENT = (VecMonitor, VecCheckNan)
#: Of an agent's attributes, what changes while it learns and what choosing actions may depend on.
_NUMBERS = (bool, int, float, type(None))


class News(NamedTuple):
    """
    What copies of an agent are told from time to time.

    :param weights: of the policy, on the host
    :param numbers: attributes of the agent
    :param may_train: whether the agent has enough to learn from
    """

    weights: Mapping[str, np.ndarray]
    numbers: Mapping[str, Any]
    may_train: bool


class ActingCopy:
    """
    An agent that acts, in a worker process on the CPU, and does nothing else.

    :param agent: what it is a copy of
    :param transposed: images that the learner sees with their channels first: keys of a Dict, or
        ``[None]``
    """

    def __init__(self, agent: "ReplayAgent", transposed: Sequence[str | None] = ()) -> None:
        left_out = {*agent._excluded_save_params(), "policy_kwargs", "replay_buffer_kwargs"}
        self._attributes = {k: v for k, v in vars(agent).items() if k not in left_out}
        self._kind, self._policy_kind = type(agent), type(agent.policy)
        file = io.BytesIO()
        agent.policy.save(file)
        self._file = file.getvalue()
        self._transposed = transposed
        self._may_train = agent._may_train()
        self._agent: Any = None
        self._state: State | None = None
        self._generator: th.Generator | None = None

    def __call__(self, obs: Any, is_first: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """
        Act on what environments have returned.

        :param obs: array or dictionary of arrays, (n, ...)
        :param is_first: bool, (n,)
        :return: actions for the environments, and for the learner: actions in replay form and the
            parts of what is remembered
        """
        policy = self._agent.policy
        if self._state is None:
            self._state = policy.initial_state(len(is_first))
        for name in self._transposed:
            if name is None:
                obs = VecTransposeImage.transpose_image(obs)
            else:
                obs = {**obs, name: VecTransposeImage.transpose_image(obs[name])}
        manner = Manner(self._generator, False, self._agent._choose, None)
        action, self._state = policy.act_on_arrays(obs, self._state, is_first, manner)
        parts = [part.numpy() for part in leaves(self._state)]
        return policy.to_env_action(action), [action, *parts]

    def seed(self, seed: int) -> None:
        """
        Build what acts, in the process that shall.

        :param seed: of its random choices
        """
        agent: Any = object.__new__(self._kind)
        vars(agent).update(self._attributes)
        agent.policy = self._policy_kind.load(io.BytesIO(self._file), device="cpu", trusted=True)
        agent.device = agent.policy.device
        agent.policy.set_training_mode(False)
        agent._may_train = lambda: self._may_train
        self._agent, self._file = agent, b""
        self._generator = th.Generator().manual_seed(seed)

    def load(self, news: News) -> None:
        """
        Go on with other weights.

        :param news: of the learner
        """
        state = {name: th.tensor(value) for name, value in news.weights.items()}
        self._agent.policy.load_state_dict(state)
        vars(self._agent).update(news.numbers)
        self._may_train = news.may_train


class ActingElsewhere:
    """
    The learner's side: takes what its copies did as its own, and tells them what it has learned.

    :param agent: learns
    :param env: whose workers act
    :raises ValueError: for wrappers and settings that workers cannot follow
    """

    def __init__(self, agent: "ReplayAgent", env: RemoteVecEnv) -> None:
        if agent.action_noise is not None:
            raise ValueError(
                "action_noise is added to actions that the learner chooses, and acting='worker' "
                "leaves that to workers. Leave action_noise out, or make the environment with "
                "acting='learner'."
            )
        assert agent.env is not None
        assert agent._generator is not None
        transposed = _transposed(agent.env)
        self._agent, self._env = agent, env
        self._told = agent._n_updates
        device = agent._generator.device

        env.hand_over(
            lambda: ActingCopy(agent, transposed),
            lambda: int(th.randint(2**31, (), generator=agent._generator, device=device)),
        )

    def fetch(self, act: Callable[[], tuple[np.ndarray, State]]) -> tuple[np.ndarray, State]:
        """
        Return what the workers' copies have done on the last observations.

        :param act: lets the agent act itself, for rows whose workers are lost
        :return: actions in replay form, (n_envs, dims), and what is remembered
        """
        found = self._env.acted()
        if any(parts is None for _, parts in found):
            action, state = act()
            own = [action, *(part.cpu().numpy() for part in leaves(state))]
            found = [
                (rows, [part[rows.start : rows.stop] for part in own] if parts is None else parts)
                for rows, parts in found
            ]
        joined = [np.concatenate(parts) for parts in zip(*(p for _, p in found), strict=True)]
        policy = self._agent.policy
        remembered = [th.as_tensor(part, device=policy.device) for part in joined[1:]]
        return joined[0], policy.memory.unpack(remembered)

    def tell(self) -> None:
        """Send news, if there was no update before or there were enough since the last ones."""
        agent = self._agent
        new = agent._n_updates - self._told
        if new >= self._env.sync_every or (self._told == 0 and new > 0):
            self._told = agent._n_updates
            weights = {k: x.detach().cpu().numpy() for k, x in agent.policy.state_dict().items()}
            numbers = {k: x for k, x in vars(agent).items() if isinstance(x, _NUMBERS)}
            self._env.tell(News(weights, numbers, agent._may_train()))


def acting_elsewhere(agent: "ReplayAgent") -> ActingElsewhere | None:
    """
    Let the workers of an environment act, if it was made so.

    :param agent: learns, with a policy and an environment
    :return: what the agent asks instead of acting, or None: it acts itself
    """
    env = None if agent.env is None else agent.env.unwrapped
    if not isinstance(env, RemoteVecEnv) or env.acting != "worker":
        return None
    return ActingElsewhere(agent, env)


def _transposed(env: VecEnv) -> list[str | None]:
    """
    Return which images the wrappers around an environment turn.

    :raises ValueError: for wrappers that change more
    """
    keys: list[str | None] = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecTransposeImage):
            if not env.skip:
                is_dict = isinstance(env.venv.observation_space, spaces.Dict)
                keys += env.image_space_keys if is_dict else [None]
        elif not isinstance(env, TRANSPARENT):
            raise ValueError(
                f"{type(env).__name__} changes observations or rewards in the learner, and "
                "acting='worker' acts before they are there. Wrap the single environments in "
                "make_env instead, or make the environment with acting='learner'."
            )
        env = env.venv
    return keys
