"""CRC-32 of blocks that are read on several threads is that of the whole."""

import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamzoo.common.storage import crc32
from dreamzoo.common.storage.crc32 import combine, read_into


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_two_blocks_are_combined(first: bytes, second: bytes) -> None:
    together = combine(zlib.crc32(first), zlib.crc32(second), len(second))
    assert together == zlib.crc32(first + second)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 1001])
def test_what_is_read_and_its_crc_are_those_of_the_file(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crc32, "CHUNK", 8)
    data = bytes(i * i % 251 for i in range(size + 5))
    block = bytearray(size)
    assert read_into(io.BytesIO(data), 5, memoryview(block)) == zlib.crc32(data[5:])
    assert bytes(block) == data[5:]


@pytest.mark.parametrize("chunk", [8, 1000])
def test_a_file_that_ends_too_early_is_refused(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crc32, "CHUNK", chunk)
    with pytest.raises(EOFError, match="ends 1 bytes too early"):
        read_into(io.BytesIO(bytes(99)), 0, memoryview(bytearray(100)))
