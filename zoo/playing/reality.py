"""The real environment beside a dream: one episode at a time, seen as the agent sees it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from dreamzoo.analysis.evaluation import check_spaces
from dreamzoo.envs import make_env
from dreamzoo.playing.painters import Painter, find_painter

#: A name that :func:`dreamzoo.envs.make_env` knows, an environment, or a function that makes one.
Env = str | gym.Env | VecEnv | Callable[[], gym.Env | VecEnv]


class Answer(NamedTuple):
    """
    What the environment says to one action.

    :param observation: as the agent sees it, (1, ...); the last one of an episode that ends
    :param reward: not normalized
    :param ended: nothing follows
    :param cut: by a limit of time
    """

    observation: Any
    reward: float
    ended: bool
    cut: bool


class KeepsPicture(gym.Wrapper):
    """Keeps the picture of the last moment: a ``VecEnv`` begins anew before it can be drawn."""

    picture: np.ndarray | None = None
    is_wanted = True

    def reset(self, **kwargs: Any) -> Any:
        result = super().reset(**kwargs)
        self._look()
        return result

    def step(self, action: Any) -> Any:
        result = super().step(action)
        self._look()
        return result

    def _look(self) -> None:
        if self.is_wanted and self.render_mode == "rgb_array":
            picture = self.env.render()
            self.picture = picture if isinstance(picture, np.ndarray) else None


class Reality:
    """
    One real environment, wrapped as the model's own was.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.playing.reality import Reality, maker
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> reality = Reality(model, maker(model, "CartPole-v1"))
        >>> reality.reset(seed=0).shape
        (1, 4)
        >>> reality.step(1).reward
        1.0

    :param model: agent
    :param make: makes the environment, see :func:`maker`
    :raises ValueError: for an environment with other spaces, or more than one
    """

    def __init__(self, model: BaseAlgorithm, make: Callable[[], VecEnv]) -> None:
        env = make()
        if env.num_envs != 1:
            raise ValueError(f"env holds {env.num_envs} environments; expected one.")
        check_spaces(model, env)
        self.env: VecEnv = model._wrap_env(env, verbose=0, monitor_wrapper=False)
        self._is_normalized = any(isinstance(x, VecNormalize) for x in _wrappers(self.env))
        self._single: Any = getattr(self.env.unwrapped, "envs", [None])[0]

    @property
    def action_names(self) -> list[str] | None:
        """What the actions of a game are called."""
        inner = self._single and self._single.unwrapped
        try:
            return list(map(str, inner.get_action_meanings()))
        except AttributeError:
            return None

    @property
    def picture(self) -> np.ndarray | None:
        """The environment's own picture of this moment, if it draws any."""
        keeper = self._keeper
        return None if keeper is None else keeper.picture

    @property
    def _keeper(self) -> KeepsPicture | None:
        env = self._single
        while isinstance(env, gym.Wrapper) and not isinstance(env, KeepsPicture):
            env = env.env
        return env if isinstance(env, KeepsPicture) else None

    def reset(self, seed: int) -> Any:
        """Begin an episode; the same seed begins the same."""
        self.env.seed(seed)
        return self.env.reset()

    def painter(self, observation: Any) -> Painter | None:
        """Find who draws observations, once an episode has begun; it is drawn no more itself."""
        painter = self._single and find_painter(self._single, first(self.raw(observation)))
        if painter is not None and self._keeper is not None:
            self._keeper.is_wanted, self._keeper.picture = False, None
        return painter

    def step(self, action: Any) -> Answer:
        """
        Do one step.

        :param action: of the environment, one
        """
        obs, reward, done, infos = self.env.step(np.asarray(action)[None])
        info = infos[0]
        if done[0]:  # not the next episode's first
            obs = _batched(info["terminal_observation"])
        normalizer = next((x for x in _wrappers(self.env) if isinstance(x, VecNormalize)), None)
        earned = reward if normalizer is None else normalizer.get_original_reward()
        cut = bool(info.get("TimeLimit.truncated", False))
        return Answer(copy.deepcopy(obs), float(earned[0]), bool(done[0]), cut)

    def raw(self, observation: Any) -> Any:
        """Turn a normalized observation back into what the environment gave."""
        for wrapper in _wrappers(self.env):
            if isinstance(wrapper, VecNormalize):
                return wrapper.unnormalize_obs(observation)
        return observation

    def close(self) -> None:
        self.env.close()


def maker(
    model: BaseAlgorithm,
    env: Env,
    env_kwargs: Mapping[str, Any] | None = None,
    normalizer: VecNormalize | None = None,
) -> Callable[[], VecEnv]:
    """
    Say how the environment beside a dream is made, with observations normalized as in training.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.playing.reality import maker
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> maker(model, "CartPole-v1")().num_envs
        1

    :param model: agent
    :param env: what to play in
    :param env_kwargs: of an environment that is named
    :param normalizer: whose statistics are used; None: those of the agent's environment, if any
    """
    known = model.get_vec_normalize_env() if normalizer is None else normalizer
    codec: Any = model.policy.observation_codec
    has_images = bool(codec.image_keys)

    def make() -> VecEnv:
        made = _named(env, dict(env_kwargs or {}), has_images) if isinstance(env, str) else env
        made = made if isinstance(made, gym.Env | VecEnv) else made()
        if isinstance(made, VecEnv):
            return made
        one = made if has_images else KeepsPicture(made)
        vec = make_vec_env(lambda: one, n_envs=1)
        return vec if known is None else _normalized(known, vec)

    return make


def _named(name: str, kwargs: dict[str, Any], has_images: bool) -> gym.Env:
    """Make an environment that can be drawn, if there is one."""
    if not has_images and "render_mode" not in kwargs:
        try:
            return make_env(name, render_mode="rgb_array", **kwargs)
        except (TypeError, ValueError, RuntimeError, gym.error.Error):
            pass  # it has no pictures; or it cannot be made, which the next line says
    return make_env(name, **kwargs)


def _normalized(known: VecNormalize, env: VecEnv) -> VecNormalize:
    """Use the statistics of training, and learn nothing here."""
    made = VecNormalize(
        env,
        training=False,
        norm_obs=known.norm_obs,
        norm_reward=False,
        clip_obs=known.clip_obs,
        epsilon=known.epsilon,
        norm_obs_keys=known.norm_obs_keys,
    )
    if known.norm_obs:
        made.obs_rms = copy.deepcopy(known.obs_rms)
    return made


def _wrappers(env: VecEnv) -> list[VecEnv]:
    found = [env]
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        found.append(env)
    return found


def first(observation: Any) -> Any:
    """Take the only row of an observation, (1, ...) to (...)."""
    if isinstance(observation, dict):
        return {name: part[0] for name, part in observation.items()}
    return observation[0]


def _batched(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: np.asarray(part)[None] for name, part in observation.items()}
    return np.asarray(observation)[None]
