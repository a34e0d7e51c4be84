"""How well a dream agrees with the real environment, for any policy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import check_spaces, tell
from dreamzoo.common.environments.normalizer import RewardUnit, statistics_at_rest
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.envs.dreams.vector_env import DreamVectorEnv
from dreamzoo.envs.vector_env_to_vec_env import to_host
from dreamzoo.nn.checks import to_flags

#: An agent of Stable-Baselines3, anything with its ``predict``, or a function from observations
#: (n, ...) to actions (n, ...).
Policy = Any


class Agreement(NamedTuple):
    """
    The same starts in the real environment and in the dream; H steps, E episodes.

    The first four come from real actions dreamed after: at every step, over the episodes that
    still run in reality.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.analysis.agreement import Agreement
        >>> error, returns = np.array([0.1, 0.3]), np.array([2.0, 2.0, 1.0])
        >>> result = Agreement(error, error, error, np.array([3, 2]), returns, returns)
        >>> float(result.observation_error[-1])  # after two steps
        0.3

    :param observation_error: mean absolute difference, every number in units of its standard
        deviation in the real episodes, (H,)
    :param reward_error: mean absolute difference of the environment's rewards, (H,); of an agent
        that learns a function of rewards (``reward_transform``), of those, as are the returns
    :param continue_error: mean absolute difference between the predicted probability of going on
        and what happened, (H,)
    :param running: number of episodes that still ran, (H,)
    :param real_returns: of the policy in the real environment, up to H steps, (E,)
    :param dream_returns: of the policy in the dream, in the same unit, up to H steps, (E,)
    """

    observation_error: np.ndarray
    reward_error: np.ndarray
    continue_error: np.ndarray
    running: np.ndarray
    real_returns: np.ndarray
    dream_returns: np.ndarray


class _Episodes(NamedTuple):
    """Rows of the same number of steps; ``running`` says where an episode still ran."""

    obs: list[Any]  # H + 1 times (E, ...)
    actions: list[np.ndarray]
    rewards: np.ndarray  # (H, E)
    terminated: np.ndarray  # (H, E)
    running: np.ndarray  # (H, E)

    @property
    def returns(self) -> np.ndarray:
        return np.asarray((self.rewards * self.running).sum(0))


def compare_with_dream(
    model: HasWorldModel,
    policy: Policy,
    env: VecEnv,
    horizon: int,
    *,
    deterministic: bool = False,
    seed: int = 0,
) -> Agreement:
    """
    Roll a policy out in the real environment and in the dream, from the same first observations.

    Every row of ``env`` plays one episode. The dream is asked twice: what it makes of the real
    actions (the model's error), and what the policy does in it (the return it promises).

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.agreement import compare_with_dream
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = make_vec_env("CartPole-v1", n_envs=3)  # one episode each
        >>> model = DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug"), seed=0)
        >>> result = compare_with_dream(model, model, env, horizon=5)
        >>> result.observation_error.shape, result.real_returns.tolist()
        ((5,), [5.0, 5.0, 5.0])

    :param model: owns the world model
    :param policy: see :data:`Policy`
    :param env: wrapped as the model's own environment was; images may have their channels last.
        Statistics of a ``VecNormalize`` stay as they are
    :param horizon: steps H at most
    :param deterministic: passed to the policy
    :param seed: of environment and dream
    :raises ValueError: for an environment with other spaces
    """
    check_spaces(model, env)
    env = model._wrap_env(env, verbose=0, monitor_wrapper=False)
    env.seed(seed)
    env.action_space.seed(seed)
    unit = RewardUnit.of(model, env)
    with statistics_at_rest(env):
        real = _play(env.reset(), policy, _real_step(env), horizon, deterministic, unit)
    learned = model.world_model.as_learned(th.as_tensor(real.rewards / unit.scale))
    real = real._replace(rewards=unit.earned(to_host(learned)))
    first = _map(real.obs[0], lambda x: x[:, None])
    actions = np.zeros((env.num_envs, 0, *env.action_space.shape), env.action_space.dtype)  # type: ignore[misc]
    options = {"context": {"observations": first, "actions": actions}}

    def dream_of(termination: Any) -> tuple[DreamVectorEnv, Any]:
        dream = DreamVectorEnv(
            model,
            env.num_envs,
            horizon=None,
            termination=termination,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        return dream, to_host(dream.reset(seed=seed, options=options)[0])

    dream, _ = dream_of(None)
    obs, rewards, continues = [], [], []
    for action in real.actions:
        dreamed, reward, _, _, info = dream.step(action)
        obs.append(to_host(dreamed))
        rewards.append(unit.earned(to_host(reward)))
        continues.append(to_host(info["continue"]))
    dream, start = dream_of("sample")
    promised = _play(start, policy, _dream_step(dream, unit), horizon, deterministic, unit)
    running = real.running
    return Agreement(
        _observation_error(real, obs),
        _mean(np.abs(np.array(rewards) - real.rewards), running),
        _mean(np.abs(np.array(continues) - ~real.terminated), running),
        running.sum(1),
        real.returns,
        promised.returns,
    )


Step = Callable[[np.ndarray], tuple[Any, np.ndarray, np.ndarray, np.ndarray]]


def _play(
    obs: Any, policy: Policy, step: Step, horizon: int, deterministic: bool, unit: RewardUnit
) -> _Episodes:
    state, starts = None, None
    running = np.ones(len(next(iter(obs.values())) if isinstance(obs, dict) else obs), bool)
    seen: list[Any] = [obs]
    actions: list[np.ndarray] = []
    rewards: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    alive: list[np.ndarray] = []
    while len(actions) < horizon and running.any():
        if hasattr(policy, "predict"):
            action, state = policy.predict(obs, state, starts, deterministic)
        else:
            action = policy(obs)
        starts = np.zeros(len(running), bool)
        obs, reward, terminated, done = step(action)
        tell(policy, state, unit.learned(reward))
        seen.append(obs)
        actions.append(action)
        rewards.append(reward)
        ends.append(terminated)
        alive.append(running)
        running = running & ~done
    return _Episodes(seen, actions, np.array(rewards), np.array(ends), np.array(alive))


def _real_step(env: VecEnv) -> Step:
    def step(action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        obs, reward, flags, infos = env.step(action)
        done = to_flags(flags, env.num_envs, "dones")
        limit = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        obs = _map(obs, np.copy)
        for i in np.flatnonzero(done):  # the last observation, not the next episode's first
            last = infos[i]["terminal_observation"]
            if isinstance(obs, dict):
                for name in obs:
                    obs[name][i] = last[name]
            else:
                obs[i] = last
        return obs, reward, done & ~limit, done

    return step


def _dream_step(dream: DreamVectorEnv, unit: RewardUnit) -> Step:
    def step(action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        obs, reward, terminated, _, _ = dream.step(action)
        ended = to_host(terminated)
        return to_host(obs), unit.earned(to_host(reward)), ended, ended

    return step


def _observation_error(real: _Episodes, dreamed: list[Any]) -> np.ndarray:
    """Average over all numbers of all parts of the observation, (H,)."""
    parts = real.obs[0].keys() if isinstance(real.obs[0], dict) else [None]
    errors = []
    for name in parts:
        true, guess = (
            np.array([x if name is None else x[name] for x in steps], np.float64)
            for steps in (real.obs[1:], dreamed)
        )
        true, guess = (x.reshape(*real.running.shape, -1) for x in (true, guess))
        scale = true[real.running].std(0)
        # What never changes in reality has no scale of its own: its error counts as it is.
        errors.append(np.abs(guess - true) / np.where(scale > 0, scale, 1.0))
    return _mean(np.concatenate(errors, axis=-1).mean(-1), real.running)


def _mean(values: np.ndarray, running: np.ndarray) -> np.ndarray:
    """Average over the episodes that run, (H, E) to (H,)."""
    return np.asarray((values * running).sum(1) / running.sum(1))


def _map(obs: Any, function: Callable[[np.ndarray], np.ndarray]) -> Any:
    if isinstance(obs, dict):
        return {name: function(part) for name, part in obs.items()}
    return function(obs)
