"""Images without a display, and without a variable set by the user."""

import ctypes
import os
import subprocess
import sys
from types import ModuleType

import pytest

from dreamzoo.envs.rendering import draw_in_memory, use_headless_rendering

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="EGL is chosen on Linux only")

RENDER = """
from dreamzoo.envs import make_dmc
image = make_dmc("cartpole", "swingup", pixels=True).reset(seed=0)[0]
assert image.shape == (64, 64, 3) and image.std() > 10, image.std()
"""


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """
    Hide the display, the user's choice, and that other tests have imported dm_control.

    :return: pytest's own fixture, for more changes
    """
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delitem(sys.modules, "dm_control._render", raising=False)
    return monkeypatch


def test_renders_with_no_variable_set(headless: pytest.MonkeyPatch) -> None:
    headless.delenv("PYOPENGL_PLATFORM", raising=False)
    command = [sys.executable, "-c", RENDER]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "GLFW" not in result.stderr


def test_pygame_does_not_look_for_a_screen(headless: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    headless.delenv("XDG_RUNTIME_DIR", raising=False)
    code = (
        "from dreamzoo.envs import make_env\n"
        "env = make_env('CartPole-v1', render_mode='rgb_array')\n"
        "env.reset()\n"
        "assert env.render().std() > 10"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    assert "XDG_RUNTIME_DIR" not in said.stderr


@pytest.mark.parametrize("variable", ["DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"])
def test_a_screen_and_a_driver_of_the_user_are_kept(
    variable: str, headless: pytest.MonkeyPatch
) -> None:
    headless.setenv(variable, "x11")
    before = dict(os.environ)
    draw_in_memory()
    assert dict(os.environ) == before


@pytest.mark.parametrize(("variable", "value"), [("MUJOCO_GL", "osmesa"), ("DISPLAY", ":0")])
def test_choice_of_the_user_and_display_are_kept(
    variable: str, value: str, headless: pytest.MonkeyPatch
) -> None:
    headless.setenv(variable, value)
    before = dict(os.environ)
    use_headless_rendering(required=True)
    assert dict(os.environ) == before


def test_late_choice_of_renderer_is_explained(headless: pytest.MonkeyPatch) -> None:
    headless.setitem(sys.modules, "dm_control._render", ModuleType("dm_control._render"))
    use_headless_rendering(required=False)  # physics work with any renderer
    assert "MUJOCO_GL" not in os.environ
    with pytest.raises(RuntimeError, match="dm_control was imported before"):
        use_headless_rendering(required=True)


def test_missing_egl_is_explained(headless: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(name)

    headless.setattr(ctypes, "CDLL", fail)
    use_headless_rendering(required=False)
    assert "MUJOCO_GL" not in os.environ
    with pytest.raises(RuntimeError, match="apt-get install -y libegl1"):
        use_headless_rendering(required=True)
