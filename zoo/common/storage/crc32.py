"""CRC-32 of large blocks, on several threads while they are read."""

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import BinaryIO

#: Bytes that one thread reads and sums up at a time.
CHUNK = 2**22
THREADS = 4
#: The polynomial of CRC-32, its highest power at the lowest bit.
_POLYNOMIAL = 0xEDB88320


def combine(first: int, second: int, length: int) -> int:
    """
    Compute the CRC-32 of two blocks, one behind the other.

    Example:
        >>> import zlib
        >>> from dreamzoo.common.storage.crc32 import combine
        >>> combine(zlib.crc32(b"world "), zlib.crc32(b"model"), 5) == zlib.crc32(b"world model")
        True

    :param first: CRC-32 of the first block
    :param second: CRC-32 of the second block
    :param length: bytes of the second block
    """
    return _product(_power(8 * length), first) ^ second


def read_into(file: BinaryIO, offset: int, block: memoryview) -> int:
    """
    Fill memory from a file; one thread reads while others sum up what was read.

    :param file: is read from one place at a time
    :param offset: where to begin
    :param block: bytes to fill
    :return: CRC-32 of these bytes
    :raises EOFError: if the file ends before
    """
    one_reads = threading.Lock()

    def read(start: int) -> int:
        part = block[start : start + CHUNK]
        with one_reads:
            file.seek(offset + start)
            got = file.readinto(part)  # type: ignore[attr-defined]
        if got != len(part):
            raise EOFError(f"it ends {len(part) - (got or 0)} bytes too early")
        return zlib.crc32(part)

    starts = range(0, len(block), CHUNK)
    if len(starts) < 2:
        return read(0)
    crc = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for start, part in zip(starts, pool.map(read, starts), strict=True):
            crc = combine(crc, part, min(CHUNK, len(block) - start))
    return crc


def _product(a: int, b: int) -> int:
    """Multiply two polynomials modulo that of CRC-32, with bits for coefficients modulo 2."""
    result = 0
    for power in range(31, -1, -1):
        if a >> power & 1:
            result ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return result


@cache
def _power(n: int) -> int:
    """Compute the n-th power of x modulo the polynomial."""
    result, square = 1 << 31, 1 << 30
    while n:
        if n & 1:
            result = _product(square, result)
        square = _product(square, square)
        n >>= 1
    return result
