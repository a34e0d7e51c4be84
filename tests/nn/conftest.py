"""Every test of the networks starts from the same random stream."""

import pytest
import torch as th


@pytest.fixture(autouse=True)
def _seeded() -> None:
    th.manual_seed(0)
