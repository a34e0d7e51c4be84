"""The DeepMind Control Suite as the Dreamer papers use it."""

from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import (
    AddRenderObservation,
    FlattenObservation,
    RepeatAction,
    RescaleAction,
    TransformAction,
    TransformObservation,
)

from dreamzoo.envs.errors import requires_extra, unknown_name
from dreamzoo.envs.rendering import use_headless_rendering

# The cameras that DreamerV3's code uses where it is not number 0 (embodied/envs/dmc.py).
_CAMERAS = {"quadruped": 2}


def make_dmc(
    domain: str,
    task: str,
    *,
    pixels: bool = False,
    flatten: bool = False,
    size: int = 64,
    action_repeat: int = 2,
    camera_id: int | None = None,
    render_quality: Literal["paper", "fast"] = "paper",
    render_mode: Literal["rgb_array", "human"] | None = None,
    seed: int | None = None,
) -> gym.Env:
    """
    Make a task of the DeepMind Control Suite, observed by its state or by pixels.

    An episode lasts 1000 steps of the suite, which are ``1000 / action_repeat`` steps here, and
    always ends by truncation. Actions are float32 in [-1, 1]. The observation is

    - by default a dictionary of float32 vectors, one for each entry of the task's own observation
      (``"MultiInputPolicy"``);
    - with ``flatten`` one float32 vector (``"MlpPolicy"``);
    - with ``pixels`` a uint8 image of shape (size, size, 3) (``"CnnPolicy"``), rendered headless
      where there is no display.

    SB3's ``make_vec_env`` takes ``functools.partial(make_dmc, "walker", "walk")``, also for
    environments in sub-processes. Elsewhere see to it that sub-processes which render are not
    forked: gymnasium's ``AsyncVectorEnv`` needs ``context="forkserver"``.

    Example:
        >>> from dreamzoo.envs import make_dmc
        >>> env = make_dmc("walker", "walk", seed=0)
        >>> obs, _ = env.reset()
        >>> sorted(obs), obs["velocity"].shape
        (['height', 'orientations', 'velocity'], (9,))
        >>> env.action_space
        Box(-1.0, 1.0, (6,), float32)

    :param domain: name of the domain, such as "walker"
    :param task: name of the task, such as "walk"
    :param pixels: observe an image instead of the state
    :param flatten: join the entries of the state to one vector
    :param size: height and width of the observed image in pixels, 64 in the papers
    :param action_repeat: steps of the suite for each action, their rewards summed: 2 in Dreamer,
        DreamerV2 and DreamerV3 (there Table 2), 1 in DreamerV3's later code, and from 2 to 8
        depending on the task in PlaNet
    :param camera_id: camera of the images, by default 0, for quadruped 2 (DreamerV3's code)
    :param render_quality: "paper" renders as the suite does. "fast" leaves out shadows, reflections
        and anti-aliasing, which is several times faster without a GPU. An agent needs the quality
        that it was trained with
    :param render_mode: "rgb_array" for images from ``render()``, "human" for a window (state only).
        With ``pixels``, ``render()`` returns the observed image
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :return: the environment
    """
    if pixels and flatten:
        raise ValueError("flatten=True joins the entries of the state, pixels=True observes none.")
    if render_quality not in ("paper", "fast"):
        raise ValueError(f"render_quality must be 'paper' or 'fast', not {render_quality!r}.")
    if pixels and render_mode is None:
        render_mode = "rgb_array"
    if camera_id is None:
        camera_id = _CAMERAS.get(domain, 0)

    render_kwargs: dict[str, Any] = {"camera_id": camera_id}
    if pixels:
        render_kwargs |= {"height": size, "width": size}
    if render_quality == "fast":
        render_kwargs["render_flag_overrides"] = {"reflection": False}
    env = _make_suite_env(domain, task, render_mode, render_kwargs)
    suite_env: Any = env.unwrapped
    if render_quality == "fast":
        # No multisampling, and no shadows: on a CPU, their map of 2048 x 2048 pixels is most of
        # the work for an image of 64 x 64. Both are read when the first image is rendered.
        quality = suite_env.physics.model.vis.quality
        quality.offsamples = quality.shadowsize = 0

    # Repeated below the images, so that only the last one is rendered.
    env = RepeatAction(env, action_repeat)
    fps = round(1 / (suite_env.control_timestep() * action_repeat))
    modes = ["rgb_array"] if pixels else ["human", "rgb_array"]
    env.metadata = {"render_modes": modes, "render_fps": fps}
    env = _normalize_action(env)
    if pixels:
        env = AddRenderObservation(env, render_only=True)
        # dm_control returns a flipped view, whose negative strides torch refuses.
        env = TransformObservation(env, np.ascontiguousarray, env.observation_space)
    else:
        env = TransformObservation(env, _to_vectors, _vector_space(env.observation_space))
    if flatten:
        env = FlattenObservation(env)
    if seed is not None:
        env.reset(seed=seed)
    return env


def _make_suite_env(
    domain: str, task: str, render_mode: str | None, render_kwargs: dict[str, Any]
) -> gym.Env:
    """
    Make the task as shimmy registers it.

    :param domain: name of the domain
    :param task: name of the task
    :param render_mode: None, "rgb_array" or "human"
    :param render_kwargs: arguments of dm_control's ``Physics.render``
    :return: the environment, with float64 spaces and the bounds of the simulator
    """
    use_headless_rendering(required=render_mode == "rgb_array")
    with requires_extra("dmc"):
        import dm_control.suite
        import shimmy

    # lqr has neither bounds of its actions nor an end of its episodes.
    names = ["-".join(pair) for pair in dm_control.suite.ALL_TASKS if pair[0] != "lqr"]
    name = f"{domain}-{task}"
    if name not in names:
        raise unknown_name("task of the DeepMind Control Suite", name, names)
    gym.register_envs(shimmy)
    return gym.make(
        f"dm_control/{name}-v0",
        render_mode=render_mode,
        render_kwargs=render_kwargs,
        disable_env_checker=True,
    )


def _normalize_action(env: gym.Env) -> gym.Env:
    """
    Let actions be float32 in [-1, 1].

    :param env: environment with bounded float64 actions
    :return: the environment with its actions rescaled
    """
    env = RescaleAction(env, np.float64(-1), np.float64(1))
    assert env.action_space.shape is not None
    action_space = spaces.Box(-1, 1, env.action_space.shape, np.float32)
    return TransformAction(env, partial(np.asarray, dtype=np.float64), action_space)


def _vector_space(space: gym.Space) -> spaces.Dict:
    """
    Return the space of :func:`_to_vectors`.

    :param space: space of the suite's observations, float64 boxes of any shape
    :return: one float32 vector for each entry
    """
    assert isinstance(space, spaces.Dict)
    return spaces.Dict(
        {
            name: spaces.Box(-np.inf, np.inf, (spaces.flatdim(box),), np.float32)
            for name, box in space.items()
        }
    )


def _to_vectors(obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """
    Turn every entry of an observation to a float32 vector, numbers to vectors of length 1.

    :param obs: observation of the suite
    :return: observation in the space of :func:`_vector_space`
    """
    return {name: np.ravel(value).astype(np.float32) for name, value in obs.items()}
