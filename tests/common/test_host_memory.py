"""A container's limit counts where there is one, and arrays take what is written of them."""

from pathlib import Path

import numpy as np
import pytest

from dreamzoo.common import host_memory
from dreamzoo.common.host_memory import physical_memory, zeros

GIGABYTE = 10**9


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(host_memory, "OWN_GROUPS", tmp_path / "own")
    sizes = {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 64 * 10**6}
    monkeypatch.setattr(host_memory.os, "sysconf", sizes.__getitem__)
    return tmp_path / "groups"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_groups_it_is_the_machines(groups: Path) -> None:
    assert physical_memory() == 64 * GIGABYTE


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ("0::/a/b\n", {"memory.max": "4000000000\n"}),  # as a container sees itself
        ("0::/a/b\n", {"a/memory.max": "4000000000", "a/b/memory.max": "max"}),  # from without
        ("0::/a/b\n", {"a/memory.max": "max", "a/b/memory.max": "4000000000"}),
        ("3:cpu:/x\n5:memory:/c\n", {"memory/c/memory.limit_in_bytes": "4000000000"}),
        ("", {"memory/memory.limit_in_bytes": "4000000000"}),
    ],
)
def test_the_smallest_limit_counts(groups: Path, own: str, limits: dict[str, str]) -> None:
    _write(groups.parent / "own", own)
    for name, text in limits.items():
        _write(groups / name, text)
    assert physical_memory() == 4 * GIGABYTE


def test_no_limit_is_none(groups: Path) -> None:
    _write(groups.parent / "own", "0::/a\n")
    _write(groups / "a" / "memory.max", "max\n")
    _write(groups / "memory" / "memory.limit_in_bytes", "9223372036854771712\n")
    assert physical_memory() == 64 * GIGABYTE


def test_an_array_may_be_larger_than_all_memory(beyond_memory: int) -> None:
    length = beyond_memory // 4
    array = zeros((length // 4, 4), np.float32)
    assert array.shape == (length // 4, 4)
    assert array.dtype == np.float32
    array[-1, -1] = 1.0
    assert array[[0, length // 9, -1]].sum() == 1.0


@pytest.mark.parametrize("length", [2**50, 2**62])
def test_an_array_beyond_all_addresses_is_refused(length: int) -> None:
    with pytest.raises(MemoryError):
        zeros((length,), np.uint8)
