"""The real environment beside a dream: one episode at a time, seen as the agent sees it."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo.analysis.evaluation import check_spaces
from dreamzoo.common.environments.normalizer import (
    RewardUnit,
    at_rest_around,
    normalizers,
    statistics_at_rest,
)
from dreamzoo.envs import make_env
from dreamzoo.playing.painters import Painter, find_painter

#: A name that :func:`dreamzoo.envs.make_env` knows, an environment, or a function that makes one.
Env = str | gym.Env | VecEnv | Callable[[], gym.Env | VecEnv]


class Answer(NamedTuple):
    """
    What the environment says to one action.

    :param observation: as the agent sees it, (1, ...); the last one of an episode that ends
    :param reward: not normalized
    :param learned: the same as the agent gets it in training
    :param ended: nothing follows
    :param cut: by a limit of time
    """

    observation: Any
    reward: float
    learned: float
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

    It may be the agent's own: nothing is learned from what is played in it, and it is not closed.

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
        own = model.get_env()
        is_own = own is not None and env.unwrapped is own.unwrapped
        self._is_lent = is_own or getattr(make, "lends", False)
        #: Of its rewards and the dreams'.
        self.unit = RewardUnit.of(model, self.env)
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
        with statistics_at_rest(self.env):
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
        with statistics_at_rest(self.env):
            obs, reward, done, infos = self.env.step(np.asarray(action)[None])
        info = infos[0]
        if done[0]:  # not the next episode's first
            obs = _batched(info["terminal_observation"])
        earned = float(reward[0])
        learned = float(self.unit.learned(earned))
        cut = bool(info.get("TimeLimit.truncated", False))
        return Answer(copy.deepcopy(obs), earned, learned, bool(done[0]), cut)

    def raw(self, observation: Any) -> Any:
        """Turn a normalized observation back into what the environment gave."""
        for normalizer in normalizers(self.env):
            return normalizer.unnormalize_obs(observation)
        return observation

    def close(self) -> None:
        """Close the environment, unless it is someone else's."""
        if not self._is_lent:
            self.env.close()


class Maker:
    """
    Makes the environment beside a dream, see :func:`maker`.

    :param make: what is called
    :param lends: whether it is someone else's environment, made before
    """

    def __init__(self, make: Callable[[], VecEnv], lends: bool) -> None:
        self._make, self.lends = make, lends

    def __call__(self) -> VecEnv:
        return self._make()


def maker(
    model: BaseAlgorithm,
    env: Env,
    env_kwargs: Mapping[str, Any] | None = None,
    normalizer: VecNormalize | None = None,
    usual: VecNormalize | None = None,
) -> Maker:
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
    :param normalizer: whose statistics are used
    :param usual: the same where neither ``normalizer`` nor ``VecNormalize`` in the environment says
        it; None: that of the agent's environment, if any
    :raises ValueError: if called, for a ``normalizer`` around another one
    """
    known = normalizer or usual or model.get_vec_normalize_env()
    codec: Any = model.policy.observation_codec
    has_images = bool(codec.image_keys)

    def make() -> VecEnv:
        made = _named(env, dict(env_kwargs or {}), has_images) if isinstance(env, str) else env
        made = made if isinstance(made, gym.Env | VecEnv) else made()
        if isinstance(made, VecEnv):
            vec = made
        else:
            one = made if has_images else KeepsPicture(made)
            vec = make_vec_env(lambda: one, n_envs=1)
        if not normalizers(vec):
            return vec if known is None else at_rest_around(vec, known)
        if normalizer is not None:
            raise ValueError(
                "normalizer: the environment has a VecNormalize of its own already. Leave "
                "normalizer out, or pass the environment without VecNormalize."
            )
        return vec

    return Maker(make, lends=isinstance(env, gym.Env | VecEnv))


def _named(name: str, kwargs: dict[str, Any], has_images: bool) -> gym.Env:
    """Make an environment that can be drawn, if there is one."""
    if not has_images and "render_mode" not in kwargs:
        try:
            return make_env(name, render_mode="rgb_array", **kwargs)
        except (TypeError, ValueError, RuntimeError, gym.error.Error):
            pass  # it has no pictures; or it cannot be made, which the next line says
    return make_env(name, **kwargs)


def first(observation: Any) -> Any:
    """Take the only row of an observation, (1, ...) to (...)."""
    if isinstance(observation, dict):
        return {name: part[0] for name, part in observation.items()}
    return observation[0]


def _batched(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: np.asarray(part)[None] for name, part in observation.items()}
    return np.asarray(observation)[None]
