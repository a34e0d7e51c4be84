"""What holds for all tests: one torch thread, and no GPU tests without a GPU."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import pytest
import torch as th

if TYPE_CHECKING:
    from tests.hub.server import Hub

# A shell lets what it starts in the background ignore interrupts, and so do its children; tests of
# interrupts would wait for them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# For the tests' small tensors, several threads on a few shared cores are far slower than one.
th.set_num_threads(1)

# Kernels in Triton run in its interpreter where there is no GPU. It looks when it is imported.
if not th.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


#: Whether Triton is turned off for all tests.
TRITON = os.environ.get("DREAMZOO_TRITON", "1")


#: RL Zoo replaces this class for its whole process, and copies of environments then lack theirs.
TIME_LIMIT = gymnasium.wrappers.TimeLimit


@pytest.fixture(autouse=True)
def _time_limits_as_they_were() -> Iterator[None]:
    """Whoever imports RL Zoo does so in the process of other tests."""
    yield
    for module in (gymnasium.wrappers, gymnasium.wrappers.common, gymnasium.envs.registration):
        if hasattr(module, "TimeLimit"):
            setattr(module, "TimeLimit", TIME_LIMIT)  # noqa: B010


@pytest.fixture(autouse=True)
def _triton_as_it_was() -> Iterator[None]:
    """A benchmark turns Triton off for its whole process, which here is that of other tests."""
    yield
    if os.environ.get("DREAMZOO_TRITON", "1") != TRITON:
        from dreamzoo.nn.fast import kernels

        os.environ["DREAMZOO_TRITON"] = TRITON
        kernels.has_triton.cache_clear()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """
    Skip tests marked ``gpu`` where there is no CUDA device.

    :param item: test about to run
    """
    if item.get_closest_marker("gpu") is not None and not th.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(params=["acc", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test on the device that refuses CPU tensors, and on CUDA where there is one."""
    if request.param == "acc":
        from tests import second_device  # registers the device with torch

        second_device.install(monkeypatch)
    return request.param


@contextmanager
def _full_disk(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file grow beyond some bytes while a block lasts: the system then refuses writing."""
    return _full_disk


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator["Hub"]:
    """Let the client of the Hugging Face Hub talk to a stand-in on this machine."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for needed in ("starlette", "uvicorn"):
        pytest.importorskip(needed)
    from tests.hub.server import running

    with running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub
