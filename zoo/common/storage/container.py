"""
The one form of all files: a zip of JSON, arrays and tensors whose index says what belongs to it.

Nothing in it is compressed, so that no file unpacks to more than it is. The index names kind,
version and moment of the file, and size and CRC-32 of every member: a flipped bit, a member that
is missing, foreign or from another file, and a file that is cut short are noticed before anything
is taken from it.
"""

import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from dreamzoo.common.storage.crc32 import combine, read_into

#: Version of the form of all files; it grows when older versions cannot read them any more.
VERSION = 1
INDEX = "dreamzoo.json"
#: Files of 1980, so that equal contents are equal files.
_DATE = (1980, 1, 1, 0, 0, 0)
#: Bytes below which pieces are put together before they are written.
_SMALL = 2**16

Source = str | pathlib.Path | io.BufferedIOBase


def printable(text: str) -> str:
    """Take out what a terminal would obey: the text is of whoever has written the file."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


class FileError(ValueError):
    """
    Says which file cannot be read, and why.

    :param text: may hold names that stand in the file
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(printable(text))


class OtherFormat(FileError):
    """A file that is not of this form, such as one of an earlier version."""


class Writer:
    """
    Writes the members of one file, and the index at its end.

    :param file: is written to from front to back
    :param kind: of the file, such as ``replay``
    :param moment: name of the state that is saved, shared by all files of one save
    :param about: more for the index, of JSON
    """

    def __init__(
        self, file: BinaryIO, kind: str, moment: str, about: Mapping[str, Any] | None = None
    ) -> None:
        self._behind = _WriteBehind(file)
        self._archive = zipfile.ZipFile(self._behind, "w")  # type: ignore[call-overload]
        self._index = {
            "format": f"dreamzoo {kind}",
            "version": VERSION,
            "dreamzoo": _version(),
            "moment": moment,
            **(about or {}),
        }

    def write(self, name: str, data: bytes) -> None:
        """Add a member of bytes."""
        self._archive.writestr(zipfile.ZipInfo(name, _DATE), data)

    def write_json(self, name: str, value: Any) -> None:
        """Add a member of what JSON can say."""
        self.write(name, json.dumps(value).encode())

    @contextmanager
    def member(self, name: str) -> Iterator[BinaryIO]:
        """Write a member piece by piece."""
        with self._archive.open(zipfile.ZipInfo(name, _DATE), "w", force_zip64=True) as member:
            yield member

    def write_array(
        self, name: str, dtype: Any, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
    ) -> None:
        """
        Add an array as ``numpy.load`` reads it.

        :param name: of the member, without ``.npy``
        :param dtype: of the array
        :param shape: of the array
        :param blocks: its rows in order, contiguous; one block is in memory at a time
        """
        header = _npy_header(np.dtype(dtype), shape)
        info = zipfile.ZipInfo(f"{name}.npy", _DATE)
        info.file_size = len(header) + int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self._archive.open(info, "w") as member:
            member.write(header)
            for block in blocks:
                member.write(_bytes_of(block))

    def close(self) -> None:
        """Write the index and finish the file."""
        members = {i.filename: [i.file_size, i.CRC] for i in self._archive.infolist()}
        self.write_json(INDEX, {**self._index, "members": members})
        self._archive.close()
        self._behind.flush()

    def end(self) -> None:
        """Let go of the file, complete or not."""
        self._archive.fp = None  # or it would write an end, whenever it is deleted
        self._behind.end()


@contextmanager
def writing(
    file: BinaryIO, kind: str, moment: str, about: Mapping[str, Any] | None = None
) -> Iterator[Writer]:
    """
    Write a file; what ends the block with an error leaves it without an index.

    :param file: open for writing
    :param kind: see :class:`Writer`
    :param moment: see :class:`Writer`
    :param about: see :class:`Writer`
    """
    writer = Writer(file, kind, moment, about)
    try:
        yield writer
        writer.close()
    finally:
        writer.end()


class Reader:
    """
    Reads the members of one file, and checks each.

    :param file: can be sought in
    :param label: what messages call it
    :param kind: that is expected; None: any
    :raises FileError: if it is damaged, of another kind, or newer than this program
    """

    def __init__(self, file: BinaryIO, label: str, kind: str | None) -> None:
        self.label, self._file = label, file
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        start = file.read(4)
        if not zipfile.is_zipfile(file):
            damaged = start == b"PK\x03\x04"
            if damaged:
                why = "it is cut short, or its end is not that of a complete file"
                raise FileError(f"{label} is damaged: {why}.")
            # In the words of SB3, which some look for.
            no_zip = _OTHER_FORMAT.format(kind=" (it wasn't a zip-file)")
            raise OtherFormat(f"{label} is {no_zip}")
        self._archive = zipfile.ZipFile(file)
        infos = self._archive.infolist()
        self._infos = {info.filename: info for info in infos}
        if INDEX not in self._infos:
            raise OtherFormat(f"{label} is {_OTHER_FORMAT.format(kind='')}")
        if any(i.compress_type or i.compress_size != i.file_size for i in infos):
            raise FileError(f"{label} has compressed members, which dreamzoo does not write.")
        if sum(info.file_size for info in infos) > size:
            raise FileError(f"{label} promises more than it holds.")
        self.index: dict[str, Any] = json.loads(self._archive.read(INDEX))
        self._check_index(kind, infos)
        self.moment: str = str(self.index["moment"])
        self.size = size

    def _check_index(self, kind: str | None, infos: list[zipfile.ZipInfo]) -> None:
        index = self.index
        self.kind = str(index["format"]).removeprefix("dreamzoo ")
        self.holds = _KINDS.get(self.kind, self.kind)
        if kind is not None and self.kind != kind:
            raise FileError(f"{self.label} holds {self.holds}, not {_KINDS[kind]}.")
        if index["version"] > VERSION:
            raise FileError(
                f"{self.label} was written by dreamzoo {index['dreamzoo']}, in a newer form than "
                f"this dreamzoo {_version()} reads. Update dreamzoo."
            )
        written = {i.filename: [i.file_size, i.CRC] for i in infos if i.filename != INDEX}
        if written != index["members"] or len(infos) != len(written) + 1:
            names = sorted(written.keys() ^ index["members"].keys())
            which = f" ({', '.join(names[:3])})" if names else ""
            raise FileError(f"{self.label} is damaged: its members are not those it had{which}.")

    @property
    def names(self) -> list[str]:
        """Names of all members but the index."""
        return [name for name in self._infos if name != INDEX]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of all members but the index."""
        return {name: self._infos[name].file_size for name in self.names}

    def check(self) -> None:
        """
        Read all members piece by piece.

        :raises FileError: if one is damaged
        """
        if (bad := self._archive.testzip()) is not None:
            raise FileError(f"{self.label} is damaged: its {bad} has other bytes than it had.")

    def read(self, name: str) -> bytes:
        """Read a member of bytes."""
        return self._archive.read(name)

    def read_json(self, name: str) -> Any:
        """Read a member of JSON."""
        return json.loads(self.read(name))

    def read_array(self, name: str, out: np.ndarray) -> None:
        """
        Read an array into memory that is there.

        :param name: of the member, without ``.npy``
        :param out: contiguous, of the shape and dtype that are expected
        """
        info = self._infos[f"{name}.npy"]
        start = self._begin(info)
        npy.read_magic(self._file)
        shape, fortran, dtype = npy.read_array_header_1_0(self._file)
        header, block = self._file.tell() - start, _bytes_of(out)
        fits = (shape, fortran, dtype) == (out.shape, False, out.dtype)
        if not fits or info.file_size != header + len(block):
            raise ValueError(
                f"its {name} are {dtype} of the shape {shape}; expected {out.dtype}, {out.shape}"
            )
        crc = read_into(self._file, start + header, block)
        self._file.seek(start)
        if combine(zlib.crc32(self._file.read(header)), crc, len(block)) != info.CRC:
            raise ValueError(f"its {name} are damaged")

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """Go to the first byte of a member."""
        self._file.seek(info.header_offset)
        header = self._file.read(30)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return self._file.seek(info.header_offset + 30 + lengths)


@contextmanager
def reading(source: Source, kind: str | None, *suffixes: str) -> Iterator[Reader]:
    """
    Read a file; whatever goes wrong with it is one error that names it.

    :param source: path, with one of the suffixes or without, or an open file
    :param kind: that is expected; None: any
    :param suffixes: without the point, in the order in which they are tried
    :raises FileNotFoundError: if there is no such file
    :raises FileError: if it cannot be read
    """
    if isinstance(source, str | pathlib.Path) and existing(source, *suffixes).is_dir():
        raise FileNotFoundError(f"The folder {source} holds no {kind or 'file'} of dreamzoo.")
    with opened(source, *suffixes) as (file, label), naming(label):
        yield Reader(file, label, kind)


@contextmanager
def opened(source: Source, *suffixes: str) -> Iterator[tuple[BinaryIO, str]]:
    """
    Open a file as SB3 does, and say what to call it.

    :param source: path, with one of the suffixes or without, or an open file, which stays open
    :param suffixes: without the point, in the order in which they are tried
    :raises FileNotFoundError: if there is no such file
    """
    if not isinstance(source, str | pathlib.Path):
        yield source, "The stream"  # type: ignore[misc]
        return
    with existing(source, *suffixes).open("rb") as file:
        yield file, str(source)


def existing(source: str | pathlib.Path, *suffixes: str) -> pathlib.Path:
    """
    Find a file whose suffix may have been left out.

    :param source: its name
    :param suffixes: without the point, in the order in which they are tried
    :return: the first that exists, else the name as it is given
    """
    path = pathlib.Path(source)
    found = (path, *(pathlib.Path(f"{path}.{suffix}") for suffix in suffixes))
    return next((one for one in found if one.is_file()), path)


@contextmanager
def naming(label: str) -> Iterator[None]:
    """
    Turn whatever damaged bytes lead to into one error that names the file.

    :param label: the file
    :raises FileError: for any error in the block
    """
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # what damaged bytes say may be anything
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise FileError(f"{label} cannot be read, {said}. Nothing was loaded.") from error


#: What files hold, by their kinds.
_KINDS = {
    "agent": "an agent",
    "policy": "a policy",
    "replay": "a replay",
    "transitions": "a replay of single transitions",
    "training": "the state of a training",
    "environments": "copies of environments",
    "statistics": "the statistics of a VecNormalize",
}


_OTHER_FORMAT = (
    "not of a form that is safe to read{kind}: it is of dreamzoo 0.1, of SB3, damaged, or "
    "something else. Reading it can run whatever code its author has put in. If you trust where "
    "it comes from, load it with trusted=True, and save it anew."
)


def _version() -> str:
    from dreamzoo import __version__  # the package's own room knows all others

    return __version__


def _npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Return what stands before the numbers of an array in numpy's format."""
    if dtype.hasobject:
        raise ValueError(f"{dtype} holds objects, which are not stored as numbers")
    header = io.BytesIO()
    what = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(header, what)
    return header.getvalue()


def _bytes_of(array: np.ndarray) -> memoryview:
    """View a contiguous array as bytes."""
    if not array.flags.c_contiguous:
        raise ValueError("expected a contiguous array")
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


class _WriteBehind:
    """
    Lets a thread write while the next block is summed up; small pieces are put together.

    :param file: to write to
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[Any] | None = None
        self._pieces = bytearray()

    def write(self, data: Any) -> int:
        """Write soon; an error of the block before is raised here."""
        size = memoryview(data).nbytes
        if size < _SMALL:
            self._pieces += data
        if size >= _SMALL or len(self._pieces) >= _SMALL:
            self._hand_over()
        if size >= _SMALL:
            if not isinstance(getattr(data, "obj", data), bytes | np.ndarray):
                data = bytes(data)  # who wrote it may use its memory again
            self._submit(data)
        return size

    def _hand_over(self) -> None:
        """Write the small pieces soon."""
        if self._pieces:
            pieces, self._pieces = self._pieces, bytearray()
            self._submit(pieces)

    def _submit(self, data: Any) -> None:
        self._wait()
        self._pending = self._pool.submit(self._file.write, data)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def flush(self) -> None:
        """Wait until all is written."""
        self._hand_over()
        self._wait()

    def end(self) -> None:
        """Let the thread end."""
        self._pool.shutdown()
