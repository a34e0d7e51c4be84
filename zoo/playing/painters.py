"""Pictures of vectors, drawn by the environment itself: the state is set from an observation."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

#: An observation of numbers in one dict; of a space without keys under ``""``.
Parts = dict[str, np.ndarray]


class Painter(Protocol):
    """Draws what an environment would look like where it is observed like this."""

    def __call__(self, observation: Any) -> np.ndarray:
        """Draw an observation of the environment: an RGB frame, (H, W, 3) bytes."""

    def close(self) -> None:
        """Give back what it draws with, in the thread that has drawn."""


def find_painter(env: gym.Env, observation: Any) -> Painter | None:
    """
    Find who can draw an environment's observations.

    What a painter reads out of the first observation must be the state that the environment is
    in: wrappers that hide, scale or add numbers are noticed, and then nobody can draw.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.playing.painters import find_painter
        >>> env = gym.make("CartPole-v1")
        >>> obs, _ = env.reset(seed=0)
        >>> find_painter(env, obs)(obs).shape
        (400, 600, 3)
        >>> find_painter(env, obs[:2]) is None  # without velocities it is not known
        True

    :param env: has been reset; stays as it is
    :param observation: that it has returned
    :return: None where its state cannot be read from observations, or not be drawn
    """
    for make in (ClassicPainter.of, SuitePainter.of):
        painter = make(env, observation)
        if painter is not None:
            try:
                painter(observation)  # drawing needs packages and drivers of its own
            except (ImportError, gym.error.Error, RuntimeError, OSError):
                return None
            return painter
    return None


# ---------------------------------------------------------------------- gymnasium


def _pendulum(obs: np.ndarray) -> np.ndarray:
    return np.array([math.atan2(obs[1], obs[0]), obs[2]])


def _acrobot(obs: np.ndarray) -> np.ndarray:
    return np.array([math.atan2(obs[1], obs[0]), math.atan2(obs[3], obs[2]), obs[4], obs[5]])


#: States of gymnasium's classic control by their observations.
_CLASSIC: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "CartPoleEnv": np.array,
    "MountainCarEnv": np.array,
    "Continuous_MountainCarEnv": np.array,
    "PendulumEnv": _pendulum,
    "AcrobotEnv": _acrobot,
}


class ClassicPainter:
    """
    Draws observations of gymnasium's classic control.

    :param kind: class of the environment
    """

    def __init__(self, kind: Any) -> None:
        self._env = kind(render_mode="rgb_array")
        self._env.last_u = None  # of the pendulum: no arrow for a torque that is not known
        self._read = _CLASSIC[kind.__name__]

    @classmethod
    def of(cls, env: gym.Env, observation: Any) -> "ClassicPainter | None":
        """Make one for an environment whose state its observation tells."""
        inner: Any = env.unwrapped
        kind = type(inner)
        if not kind.__module__.startswith("gymnasium.envs.classic_control."):
            return None
        if kind.__name__ not in _CLASSIC or np.shape(observation) != inner.observation_space.shape:
            return None
        state = _CLASSIC[kind.__name__](observation)
        # An angle and another one a whole turn away are drawn alike.
        same = all(
            np.allclose(f(state), f(np.asarray(inner.state)), atol=1e-3) for f in (np.sin, np.cos)
        )
        return cls(kind) if same else None

    def __call__(self, observation: Any) -> np.ndarray:
        self._env.state = self._read(np.asarray(observation, np.float64))
        return self._env.render()

    def close(self) -> None:
        self._env.close()


# ---------------------------------------------------------------------- dm_control


def _angles(pairs: np.ndarray) -> np.ndarray:
    """Read angles, (n,), from their cosines and sines, (2 n,)."""
    cos, sin = np.reshape(pairs, (-1, 2)).T
    return np.arctan2(sin, cos)


def _all_positions(_: Any, obs: Parts) -> np.ndarray:
    return obs["position"]


def _without_place(_: Any, obs: Parts) -> np.ndarray:
    return np.concatenate([[0.0], obs["position"]])  # how far it has come is not observed


def _cartpole(_: Any, obs: Parts) -> np.ndarray:
    angles = _angles(obs["position"][1:])
    return np.concatenate([obs["position"][:1], angles[:1], np.diff(angles)])


def _suite_pendulum(_: Any, obs: Parts) -> np.ndarray:
    return _angles(obs["orientation"])


def _suite_acrobot(_: Any, obs: Parts) -> np.ndarray:
    upper, lower = np.arctan2(obs["orientations"][:2], obs["orientations"][2:])
    return np.array([upper, lower - upper])


def _walker(physics: Any, obs: Parts) -> np.ndarray:
    torso, *limbs = _angles(obs["orientations"])
    right, left = np.diff([torso, *limbs[:3]]), np.diff([torso, *limbs[3:]])
    height = obs["height"][0] - physics.named.model.body_pos["torso", "z"]
    # The torso turns the other way round than the joints of the legs.
    return np.concatenate([[height, 0.0, torso], -right, -left])


def _reacher(physics: Any, obs: Parts) -> np.ndarray:
    physics.data.qpos[:] = obs["position"]
    physics.forward()
    finger = physics.named.data.geom_xpos["finger", :2]
    physics.named.model.geom_pos["target", ["x", "y"]] = finger + obs["to_target"]
    return obs["position"]


#: Positions of joints by observations of dm_control's tasks.
_SUITE: dict[str, Callable[[Any, Parts], np.ndarray]] = {
    "acrobot": _suite_acrobot,
    "ball_in_cup": _all_positions,
    "cartpole": _cartpole,
    "cheetah": _without_place,
    "hopper": _without_place,
    "pendulum": _suite_pendulum,
    "point_mass": _all_positions,
    "reacher": _reacher,
    "walker": _walker,
}
#: Height and width of pictures of dm_control.
_SIZE = (180, 240)


class SuitePainter:
    """
    Draws observations of dm_control's tasks as :func:`dreamzoo.envs.make_dmc` gives them.

    :param env: an environment of the suite, for itself
    :param domain: its name
    """

    def __init__(self, env: Any, domain: str) -> None:
        self._env, self._read = env, _SUITE[domain]
        env.reset()
        quality = env.physics.model.vis.quality
        quality.offsamples = quality.shadowsize = 0  # several times faster without a GPU
        space = env.task.get_observation(env.physics)
        # Sorted, as gymnasium joins the entries of a Dict.
        self._widths = {name: np.size(space[name]) for name in sorted(space)}

    @classmethod
    def of(cls, env: gym.Env, observation: Any) -> "SuitePainter | None":
        """Make one for an environment whose state its observation tells."""
        spec: Any = getattr(env.unwrapped, "spec", None)
        if spec is None or spec.namespace != "dm_control":
            return None
        domain, _, task = spec.name.partition("-")
        if domain not in _SUITE:
            return None
        import dm_control.suite

        painter = cls(dm_control.suite.load(domain, task), domain)
        return painter if painter.reads(observation) else None

    def reads(self, observation: Any) -> bool:
        """Return whether the state that an observation tells is observed like this."""
        parts = self._parts(observation)
        if parts is None:
            return False
        self._set(parts)
        again = self._env.task.get_observation(self._env.physics)
        still = [name for name in parts if name not in ("velocity", "touch")]
        return all(np.allclose(np.ravel(again[k]), parts[k], atol=1e-3) for k in still)

    def __call__(self, observation: Any) -> np.ndarray:
        parts = self._parts(observation)
        assert parts is not None, "an observation of another space than at first"
        self._set(parts)
        return self._env.physics.render(*_SIZE, camera_id=0)

    def close(self) -> None:
        self._env.close()

    def _set(self, parts: Parts) -> None:
        physics = self._env.physics
        physics.data.qpos[:] = self._read(physics, parts)
        physics.forward()

    def _parts(self, observation: Any) -> Parts | None:
        if isinstance(observation, dict):
            parts = {k: np.ravel(x).astype(np.float64) for k, x in observation.items()}
        else:
            ends = np.cumsum([*self._widths.values()])
            flat = np.ravel(observation).astype(np.float64)
            if len(flat) != ends[-1]:
                return None
            parts = dict(zip(self._widths, np.split(flat, ends[:-1]), strict=True))
        return parts if {k: len(x) for k, x in parts.items()} == self._widths else None


def numbers_of(space: spaces.Space, observation: Any) -> np.ndarray:
    """
    List all numbers of an observation that are no image's.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.playing.painters import numbers_of
        >>> from gymnasium import spaces
        >>> space = spaces.Dict(color=spaces.Discrete(3), place=spaces.Box(-1, 1, (2,)))
        >>> numbers_of(space, dict(color=2, place=np.ones(2))).tolist()
        [2.0, 1.0, 1.0]

    :param space: of the observation
    :param observation: one
    :return: float64, (K,)
    """
    if isinstance(space, spaces.Dict):
        parts = [numbers_of(part, observation[name]) for name, part in sorted(space.items())]
        return np.concatenate(parts) if parts else np.zeros(0)
    return np.ravel(observation).astype(np.float64)
