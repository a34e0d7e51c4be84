"""How much memory this process may have: the machine's, or less where a container limits it."""

import os
import pathlib
from collections.abc import Iterator

#: Where Linux tells what a control group may have, and the groups that a process is in.
GROUPS, OWN_GROUPS = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/proc/self/cgroup")
#: Files with a limit in bytes, of both versions of control groups.
_LIMITS = ("memory.max", "memory.limit_in_bytes", "memory/memory.limit_in_bytes")


def physical_memory() -> int:
    """Return the bytes of memory that this process may have at most."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows: no limit known
        machine = 2**63
    return min([machine, *_limits()])


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
