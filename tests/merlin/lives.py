"""Environments whose episodes end as a test says, and what an agent has lived through in them."""

from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

#: Steps of one episode, and whether a time limit ends it.
Plan = tuple[int, bool]
#: Of two environments. Windows of six steps: in the second window of either an episode goes on that
#: has begun in the first; episodes end by time limits, for good, after one step, with the window's
#: last step, or not at all.
PLANS: list[list[Plan]] = [
    [(4, False), (3, True), (3, False), (50, False)],
    [(8, True), (1, False), (3, False), (50, False)],
]

#: The same, but with the second window's last step both episodes end, one by a time limit.
TOGETHER: list[list[Plan]] = [[*PLANS[0][:3], (2, True), (50, False)], PLANS[1]]


class Step(NamedTuple):
    """
    One step of one environment.

    :param obs: what was seen, by its key
    :param is_first: whether it begins an episode
    :param reward: that followed
    :param last: what was seen after it, if it ended an episode
    :param is_terminal: whether it ended for good
    """

    obs: dict[str, np.ndarray]
    is_first: bool
    reward: float
    last: dict[str, np.ndarray] | None
    is_terminal: bool


class Scripted(gym.Env):
    """
    Shows random members of a space, earns random numbers, and remembers it all.

    :param observation_space: what it shows
    :param action_space: what it takes
    :param plan: of its episodes
    :param seed: of what it shows
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        plan: list[Plan],
        seed: int = 0,
    ) -> None:
        self.observation_space = deepcopy(observation_space)
        self.action_space = deepcopy(action_space)
        self.observation_space.seed(seed)
        self.rng, self.plan = np.random.default_rng(seed), iter(plan)
        self.life: list[Step] = []

    def _show(self) -> Any:
        self.shown = self.observation_space.sample()
        return self.shown

    def _parts(self) -> dict[str, np.ndarray]:
        is_dict = isinstance(self.observation_space, spaces.Dict)
        return dict(self.shown) if is_dict else {"": np.asarray(self.shown)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        self.left, self.is_limited = next(self.plan)
        self.is_first = True
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.left -= 1
        done, reward = self.left == 0, float(np.float32(self.rng.normal()))
        before, shown = self._parts(), self._show()
        last = self._parts() if done else None
        self.life.append(Step(before, self.is_first, reward, last, done and not self.is_limited))
        self.is_first = False
        limited = done and self.is_limited
        return shown, reward, done and not limited, limited, {}


def make_env(
    observations: spaces.Space, actions: spaces.Space, plans: list[list[Plan]] = PLANS
) -> DummyVecEnv:
    """Make environments side by side, one for every plan."""

    def maker(plan: list[Plan], seed: int) -> Any:
        return lambda: Scripted(observations, actions, plan, seed)

    return DummyVecEnv([maker(plan, seed) for seed, plan in enumerate(plans)])


def lives(env: Any) -> list[list[Step]]:
    """Tell what has happened in every environment."""
    return [single.unwrapped.life for single in env.envs]


class Windows(BaseCallback):
    """
    Keep windows, and what was known at every step: z, the policy's context, log-probabilities.

    :param trains: whether windows are learned from
    """

    def __init__(self, trains: bool = True) -> None:
        super().__init__()
        self.trains = trains
        self.kept: list[Any] = []
        self.known: list[tuple[Any, Any, Any]] = []
        self.steps: list[Any] = []
        #: What was remembered after the last window.
        self.after: Any = None

    def _on_training_start(self) -> None:
        if not self.trains:
            vars(self.model)["train"] = lambda: None

    def _on_step(self) -> bool:
        agent: Any = self.model
        state, policy = agent._last_state, agent.policy
        distribution = policy.actor(state.latent.z, state.own.context)
        log_prob = distribution.log_prob(policy.action_codec.decode(state.prev_action))
        self.steps.append((state.latent.z, state.own.context, log_prob.detach()))
        return True

    def _on_rollout_end(self) -> None:
        agent: Any = self.model
        window = agent.rollout_buffer.window(agent.device)
        length = window.rewards.shape[1]
        z, context, log_prob = zip(*self.steps[-length:], strict=True)
        self.kept.append(window)
        self.known.append((z, context, log_prob))
        self.after = agent._last_state
        self.look(agent, window)

    def look(self, agent: Any, window: Any) -> None:
        """Look at a window before it is learned from; subclasses do."""

    def _on_training_end(self) -> None:
        if not self.trains:
            del vars(self.model)["train"]
