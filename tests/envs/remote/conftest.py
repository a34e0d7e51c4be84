"""One small Ray cluster of this machine for the tests of a file, which ends with them."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from dreamzoo.envs.remote.cluster import connect


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    pytest.importorskip("ray", reason='needs pip install "dreamzoo[ray]"')
    os.environ.pop("RAY_ADDRESS", None)
    module = connect(num_cpus=2)
    yield module
    module.shutdown()
