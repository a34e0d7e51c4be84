"""
How much memory this process may have: the machine's, or less where a container limits it.

And arrays that take of it only what is written.
"""

import math
import mmap
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Where Linux tells what a control group may have, and the groups that a process is in.
GROUPS, OWN_GROUPS = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/proc/self/cgroup")
#: Files with a limit in bytes, of both versions of control groups.
_LIMITS = ("memory.max", "memory.limit_in_bytes", "memory/memory.limit_in_bytes")

#: To Linux: do not ask whether all of it could ever be had. Python names it since 3.13.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def physical_memory() -> int:
    """Return the bytes of memory that this process may have at most."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows: no limit known
        machine = 2**63
    return min([machine, *_limits()])


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """
    Make an array of zeros that takes memory as it is written; it may be larger than all there is.

    :param shape: of the array
    :param dtype: of its elements
    :raises MemoryError: where the operating system refuses even that
    """
    try:
        return np.zeros(shape, dtype)
    except MemoryError:  # of Linux, for one array that is larger than all memory
        if not sys.platform.startswith("linux"):
            raise
    try:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        return np.frombuffer(mmap.mmap(-1, nbytes, flags=flags), dtype).reshape(shape)
    except (OSError, OverflowError) as error:
        raise MemoryError(str(error)) from error


def _limits() -> Iterator[int]:
    """List the limits of the groups that this process is in, and of all around them."""
    for folder in _folders():
        for name in _LIMITS:
            try:
                yield int((folder / name).read_text())
            except (OSError, ValueError):  # not there, or "max": none
                continue


def _folders() -> Iterator[pathlib.Path]:
    yield GROUPS  # as a container sees its own group
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = GROUPS / "memory" if "memory" in controllers.split(",") else GROUPS
        group = root / path.lstrip("/")
        yield from (one for one in (group, *group.parents) if root in (one, *one.parents))
