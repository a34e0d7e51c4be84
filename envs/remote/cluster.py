"""Where work is done beside this process: a Ray cluster, or the cores of this machine."""

import os
import socket
from types import ModuleType
from typing import Any

from dreamzoo.envs.errors import requires_extra

#: Seconds that the head of a cluster has to answer. Ray itself would try for minutes, then exit.
PATIENCE = 10.0
#: Nothing is reported to Ray's makers, and `uv run` does not send the working directory along.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def connect(address: str | None = None, num_cpus: int | None = None) -> ModuleType:
    """
    Join a Ray cluster, or start one of this machine's cores, once a process.

    A second call in the same process goes on with the cluster of the first. Nothing is uploaded and
    nothing reported. Workers on this machine find the modules that this process finds by
    ``PYTHONPATH``; on other machines the same versions of Python, Ray and dreamzoo must be
    installed, and the modules that define what is sent there.

    Example:
        >>> from dreamzoo.envs.remote.cluster import connect
        >>> ray = connect(num_cpus=2)
        >>> @ray.remote
        ... def double(number):
        ...     return 2 * number
        >>> ray.get(double.remote(21))
        42

    :param address: ``"host:port"`` of a cluster's head; ``"auto"``: the cluster that this machine
        is part of; None: the one that the variable ``RAY_ADDRESS`` names, else one of this
        machine's own, which ends with the process
    :param num_cpus: of a cluster that is started here; None: the machine's
    :return: the module ``ray``, connected
    :raises ImportError: names the extra, where there is no Ray
    :raises ConnectionError: if there is no cluster at the address
    :raises ValueError: for an address that is none, or if the process is part of another cluster
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with requires_extra("ray"):
        import ray
    wanted = address or os.environ.get("RAY_ADDRESS") or None
    if wanted not in (None, "auto", "local"):
        _check_address(wanted)
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        named = address is not None and address not in ("auto", "local")
        if named and _resolve(str(address)) != _resolve(joined):
            raise ValueError(
                f"address={address!r}: this process is part of the Ray cluster at {joined} "
                "already. Leave the address out to go on with that one, or call "
                "ray.shutdown() first."
            )
        return ray
    quietly: dict[str, Any] = {"log_to_driver": True, "logging_level": "warning"}
    if wanted in (None, "local"):
        # Ray's workers are nicer than others by default; but this process waits for theirs.
        equal = {"worker_niceness": 0}
        ray.init(
            "local", num_cpus=num_cpus, include_dashboard=False, _system_config=equal, **quietly
        )
        return ray
    try:
        if wanted != "auto":
            _knock(wanted)
        ray.init(wanted, **quietly)
    except OSError as error:
        raise ConnectionError(
            f"There is no Ray cluster at {wanted!r} ({error}). Start one with `ray start --head`, "
            "and `ray start --address=HOST:PORT` on every other machine; or leave the address out "
            "to use the cores of this machine."
        ) from error
    return ray


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ValueError(
            f"address={address!r}: expected 'auto', or 'host:port' of the cluster's head, such as "
            "'10.0.0.1:6379'. This process must run on one of the cluster's machines."
        )


def _resolve(address: str) -> tuple[str, str]:
    """Return an address as numbers, by which two names of one machine are equal."""
    host, _, port = address.rpartition(":")
    try:
        numbers = socket.gethostbyname(host)
    except OSError:
        return host, port
    return ("this machine" if numbers.startswith("127.") else numbers), port


def _knock(address: str) -> None:
    """
    Look whether anything answers at an address.

    :raises OSError: if nothing does
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), PATIENCE).close()
