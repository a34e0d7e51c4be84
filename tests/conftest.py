"""What holds for all tests: one torch thread, and no GPU tests without a GPU."""

import pytest
import torch as th

# For the tests' small tensors, several threads on a few shared cores are far slower than one.
th.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """
    Skip tests marked ``gpu`` where there is no CUDA device.

    :param item: test about to run
    """
    if item.get_closest_marker("gpu") is not None and not th.cuda.is_available():
        pytest.skip("needs a CUDA device")
