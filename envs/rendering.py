"""Rendering without a screen, and without any environment variable set by the user."""

import ctypes
import os
import sys
from typing import Any

from dreamzoo.envs.errors import requires_extra

_SYSTEM_PACKAGES = "sudo apt-get install -y libegl1 libgl1 libgl1-mesa-dri"


def draw_in_memory() -> None:
    """
    Let pygame draw into memory on a Linux machine without a display.

    Gymnasium's classic environments draw with it, and moviepy imports it. It looks for a display
    otherwise, and prints errors about what it has not found.
    """
    chosen = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & os.environ.keys()
    if sys.platform == "linux" and not chosen:
        os.environ["SDL_VIDEODRIVER"] = "dummy"


def use_headless_rendering(required: bool) -> None:
    """
    Let MuJoCo render through EGL on a Linux machine without a display.

    MuJoCo and dm_control read ``MUJOCO_GL`` once, when they are imported, and fall back to GLFW,
    which needs a display. So this must run before their first import. A value chosen by the user
    and machines with a display are left alone.

    EGL and ``fork`` do not go together: sub-processes that render must be started by
    ``forkserver`` (the default of :class:`~stable_baselines3.common.vec_env.SubprocVecEnv`) or
    ``spawn``, a forked one waits for ever.

    :param required: raise an error if rendering cannot work, rather than leave things as they are
    """
    if sys.platform != "linux" or "DISPLAY" in os.environ or "MUJOCO_GL" in os.environ:
        return
    if "dm_control._render" in sys.modules:
        if required:
            raise RuntimeError(
                "dm_control was imported before dreamzoo could choose a headless renderer. Set the "
                "environment variable MUJOCO_GL=egl, or call make_dmc before importing dm_control."
            )
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError as error:
        # Without EGL the physics still works, and dm_control still imports, if nothing is set.
        if required:
            raise RuntimeError(
                f"Rendering without a display needs EGL. On Debian or Ubuntu: {_SYSTEM_PACKAGES}"
            ) from error
        return
    os.environ["MUJOCO_GL"] = "egl"


def film_writer(path: str | os.PathLike[str], fps: float, extra: str) -> Any:
    """
    Open a film that takes RGB frames one by one: together they may be gigabytes.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.envs.rendering import film_writer
        >>> with film_writer("black.mp4", fps=15, extra="video") as film:
        ...     film.append_data(np.zeros((64, 64, 3), np.uint8))

    :param path: of the file, mp4
    :param fps: frames a second
    :param extra: of dreamzoo, that brings what is needed
    :raises ImportError: without it, with the line that installs it
    """
    with requires_extra(extra):
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  # which imageio asks for by name
    return imageio.get_writer(path, format="FFMPEG", fps=fps, macro_block_size=2)  # type: ignore[arg-type]
