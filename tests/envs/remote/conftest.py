"""One small Ray cluster of this machine for all tests of a process."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from dreamzoo.envs.remote.cluster import connect


@pytest.fixture(scope="session")
def ray() -> Iterator[Any]:
    pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
    os.environ.pop("RAY_ADDRESS", None)
    module = connect(num_cpus=2)
    yield module
    module.shutdown()
