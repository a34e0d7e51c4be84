"""Joining a cluster: what is started, what is left alone, and what is said where there is none."""

import builtins
import os
import socket
from typing import Any
from unittest.mock import Mock

import pytest

from dreamzoo.envs.remote.cluster import connect


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_workers_find_dreamzoo_and_count_as_much_as_this_process(ray: Any) -> None:
    def look() -> tuple[str, int]:
        import os

        import dreamzoo

        return dreamzoo.__version__, os.nice(0)

    import dreamzoo

    assert ray.get(ray.remote(look).remote()) == (dreamzoo.__version__, os.nice(0))


def test_nothing_is_uploaded_or_reported(ray: Any) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert "working_dir" not in ray.get_runtime_context().runtime_env


def test_a_second_call_goes_on_with_the_cluster_of_the_first(ray: Any) -> None:
    head = ray.get_runtime_context().gcs_address
    assert connect() is connect("auto") is connect(head) is ray
    assert ray.get_runtime_context().gcs_address == head
    assert len(ray.nodes()) == 1


def test_another_cluster_than_the_joined_one_is_refused(ray: Any) -> None:
    with pytest.raises(ValueError, match=r"is part of the Ray cluster at .* already"):
        connect("10.1.2.3:6379")


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match="expected 'auto', or 'host:port'"):
        connect(address)


@pytest.mark.parametrize("address", ["auto", "host:port"])
def test_where_no_cluster_is_it_is_said_at_once(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    if address == "auto":
        nothing = ConnectionError("Could not find any running Ray instance.")
        monkeypatch.setattr(ray, "init", Mock(side_effect=nothing))
    else:
        address = f"127.0.0.1:{_free_port()}"
    with pytest.raises(ConnectionError, match=f"no Ray cluster at '{address}'.*ray start --head"):
        connect(address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "dreamzoo\[ray\]"'):
        connect()
