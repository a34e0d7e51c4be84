"""Atari games as the Dreamer papers use them."""

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dreamzoo.envs.errors import requires_extra, unknown_name


@dataclass(frozen=True)
class _Protocol:
    """
    What differs between the two Atari benchmarks (DreamerV3's code, configs.yaml).

    :param screen_size: height and width of the image in pixels
    :param grayscale: one channel rather than three
    :param sticky: probability that the emulator repeats the action before
    :param all_actions: all 18 actions of the console rather than those that the game uses
    """

    screen_size: int
    grayscale: bool
    sticky: float
    all_actions: bool


_PROTOCOLS = {
    "atari": _Protocol(screen_size=96, grayscale=True, sticky=0.25, all_actions=True),
    "atari100k": _Protocol(screen_size=64, grayscale=False, sticky=0.0, all_actions=False),
}


def make_atari(
    game: str,
    *,
    protocol: Literal["atari", "atari100k"] = "atari",
    render_mode: Literal["rgb_array", "human"] | None = None,
    seed: int | None = None,
) -> gym.Env:
    """
    Make an Atari game with the settings of DreamerV3.

    - "atari", the benchmark of 200M frames: gray images of shape (96, 96, 1), sticky actions with
      probability 0.25, all 18 actions.
    - "atari100k", the benchmark of 400k frames: color images of shape (64, 64, 3), no sticky
      actions, only the actions that the game uses.

    Both repeat actions 4 times, start with up to 30 no-ops and end, as *terminated*, after 108 000
    frames at the latest. There is no reward clipping, no signal for a lost life
    (``info["lives"]`` counts them) and no automatic FIRE. Images are single
    frames: world models have a memory. For other agents see
    :class:`gymnasium.wrappers.FrameStackObservation`.

    SB3's ``make_vec_env`` takes ``functools.partial(make_atari, "pong")``, also for environments in
    sub-processes.

    Example:
        >>> from dreamzoo.envs import make_atari
        >>> make_atari("pong").observation_space
        Box(0, 255, (96, 96, 1), uint8)
        >>> env = make_atari("pong", protocol="atari100k")
        >>> env.observation_space, env.action_space
        (Box(0, 255, (64, 64, 3), uint8), Discrete(6))

    :param game: name of the game, in any of the forms "ms_pacman", "MsPacman", "ALE/MsPacman-v5"
    :param protocol: benchmark whose settings to use
    :param render_mode: "rgb_array" for the console's own frames from ``render()``, "human" for a
        window
    :param seed: seed of the first and all later episodes, as if by ``env.reset(seed=seed)``
    :return: the environment
    """
    if protocol not in _PROTOCOLS:
        raise unknown_name("Atari protocol", protocol, _PROTOCOLS)
    with requires_extra("atari"):
        import ale_py

    settings = _PROTOCOLS[protocol]
    gym.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner for each environment
    env = gym.make(
        _env_id(game),
        frameskip=1,
        repeat_action_probability=settings.sticky,
        full_action_space=settings.all_actions,
        max_num_frames_per_episode=None,  # DreamerAtariPreprocessing counts, without the no-ops
        render_mode=render_mode,
        disable_env_checker=True,
    )
    env = DreamerAtariPreprocessing(
        env, screen_size=settings.screen_size, grayscale_obs=settings.grayscale
    )
    if seed is not None:
        env.reset(seed=seed)
    return env


def _env_id(game: str) -> str:
    """
    Find the id under which ale_py registers a game.

    :param game: name in any usual spelling
    :return: id such as "ALE/MsPacman-v5"
    """
    names = [env_id[4:-3] for env_id in gym.registry if env_id.startswith("ALE/")]
    plain_name = game.removeprefix("ALE/").removesuffix("-v5").replace("_", "").lower()
    for name in names:
        if name.lower() == plain_name:
            return f"ALE/{name}-v5"
    raise unknown_name("Atari game", game, names)


class DreamerAtariPreprocessing(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """
    Turn an emulator's frames into the steps and images of DreamerV3.

    Repeats actions, takes the maximum of the last two frames against flicker, and resizes it in
    color, bilinear with antialiasing, before it becomes gray. All this as DreamerV3's code does
    (embodied/envs/atari.py), with one exception: if the game ends within a step, its last two
    frames are shown, where the original shows older ones.

    :class:`gymnasium.wrappers.AtariPreprocessing` cannot be set to the same: it resizes with
    OpenCV's area interpolation, converts to gray first, and starts with at least one no-op.

    No vector version of the wrapper exists.

    Example:
        >>> import ale_py
        >>> import gymnasium as gym
        >>> from dreamzoo.envs import DreamerAtariPreprocessing
        >>> gym.register_envs(ale_py)
        >>> env = gym.make("ALE/Breakout-v5", frameskip=1)
        >>> env = DreamerAtariPreprocessing(env, screen_size=64, grayscale_obs=False)
        >>> obs, _ = env.reset(seed=0)
        >>> obs.shape
        (64, 64, 3)

    :param env: game with ``frameskip=1``, color images and no limit of frames
    :param frame_skip: frames for each action, 4
    :param screen_size: height and width of the image in pixels, 96 or 64 (Atari100k)
    :param grayscale_obs: one channel, with the weights 0.299, 0.587, 0.114, rather than three
    :param noop_max: no-ops after a reset are drawn uniformly from 0 to this number, 30
    :param max_frames: frames after which an episode ends, no-ops not counted, 108 000 (30 minutes).
        This end is reported as *terminated*, as DreamerV3's code does, not as truncated
    """

    _GRAY_WEIGHTS = np.array([0.299, 0.587, 1 - (0.299 + 0.587)])

    def __init__(
        self,
        env: gym.Env,
        *,
        frame_skip: int = 4,
        screen_size: int = 96,
        grayscale_obs: bool = True,
        noop_max: int = 30,
        max_frames: int = 108_000,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self,
            frame_skip=frame_skip,
            screen_size=screen_size,
            grayscale_obs=grayscale_obs,
            noop_max=noop_max,
            max_frames=max_frames,
        )
        gym.Wrapper.__init__(self, env)
        if getattr(env.unwrapped, "_frameskip", None) != 1:
            raise ValueError("The emulator must not skip frames itself: make it with frameskip=1.")
        self.frame_skip = frame_skip
        self.screen_size = screen_size
        self.grayscale_obs = grayscale_obs
        self.noop_max = noop_max
        self.max_frames = max_frames
        # The console shows 60 frames a second, render() one of each step.
        self.metadata = {**env.metadata, "render_fps": round(60 / frame_skip)}
        channels = 1 if grayscale_obs else 3
        self.observation_space = spaces.Box(0, 255, (screen_size, screen_size, channels), np.uint8)
        self._frames: deque[np.ndarray] = deque(maxlen=2)
        self._frame_count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """
        Start a game and wait for a random number of frames.

        :param seed: seed of the emulator and of the number of no-ops
        :param options: passed on
        :return: image and info
        """
        frame, info = self.env.reset(seed=seed, options=options)
        for _ in range(self.np_random.integers(self.noop_max + 1)):
            frame, _, terminated, truncated, step_info = self.env.step(0)
            info |= step_info
            if terminated or truncated:
                frame, info = self.env.reset(options=options)
        self._frame_count = 0
        self._frames.clear()
        self._frames.append(frame)
        return self._image(), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """
        Play one action for several frames.

        :param action: index of the action
        :return: image, sum of the rewards, terminated, truncated, info
        """
        total_reward = 0.0
        for _ in range(self.frame_skip):
            frame, reward, terminated, truncated, info = self.env.step(action)
            self._frames.append(frame)
            self._frame_count += 1
            total_reward += float(reward)
            terminated = terminated or self._frame_count >= self.max_frames
            if terminated or truncated:
                break
        return self._image(), total_reward, terminated, truncated, info

    def _image(self) -> np.ndarray:
        image = _resize(np.max(self._frames, axis=0), self.screen_size)
        if self.grayscale_obs:
            image = (image * self._GRAY_WEIGHTS).sum(-1, keepdims=True).astype(np.uint8)
        return image


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """
    Resize an image as Pillow does, which averages over all pixels that a new one covers.

    :param image: (height, width, 3), uint8
    :param size: new height and width in pixels
    :return: (size, size, 3), uint8
    """
    with requires_extra("atari"):
        from PIL import Image

    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
