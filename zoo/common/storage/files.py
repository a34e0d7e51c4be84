"""Files that are complete or not there, and errors that say which file and what to do."""

import contextlib
import errno
import os
import pathlib
import re
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Seconds in which nothing was added to a part of a file that has no writer any more: where nobody
#: holds its lock, which not every file system tells other machines; and where there are no locks.
QUIET, STALE = 60.0, 24 * 60 * 60.0


@contextlib.contextmanager
def replaced_file(path: str | pathlib.Path, suffix: str) -> Iterator[BinaryIO]:
    """
    Open a file for writing that takes the place of an older one only when it is complete.

    Of several that are written to one name at the same time the one that ends last stays, whole.

    :param path: its name, read as SB3 reads it: the suffix is added where there is none, folders
        are made, and a folder of that name gives a file ending in ``_2``
    :param suffix: without the point
    :raises OSError: names the file, and leaves the older one and no other behind
    """
    given = pathlib.Path(path)
    target = with_suffix(given, suffix)
    with explained(target):
        if target.is_dir():
            warnings.warn(f"{target} is a folder; saved as {target}_2 instead.", stacklevel=4)
            target = pathlib.Path(f"{target}_2")
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            warnings.warn(f"The folder {target.parent} is new.", stacklevel=4)
        target = target.resolve()  # a link stays one
        if target.exists() and not target.is_file():  # a device or a pipe, which nothing replaces
            with target.open("wb") as plain:
                yield plain
            return
        _remove_cut_off(target)
        new, file = _new_part(target)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is not None:
                    new.replace(target)  # while it is locked: nobody takes it for cut off
            if fcntl is None:  # there no open file can be moved
                new.replace(target)
            sync_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)


def with_suffix(path: pathlib.Path, suffix: str) -> pathlib.Path:
    """
    Add a suffix where there is none.

    :param path: of a file
    :param suffix: without the point
    """
    return path if path.suffix else pathlib.Path(f"{path}.{suffix}")


def _new_part(target: pathlib.Path) -> tuple[pathlib.Path, BinaryIO]:
    """Open a file that becomes another one; a lock, held until it is closed, says that it grows."""
    while True:
        new = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.new")
        file = new.open("xb")
        with contextlib.suppress(OSError):  # some file systems have no locks
            _lock(file, wait=True)
        if new.exists():  # nobody has taken it for cut off before it was locked
            return new, file
        file.close()


def _lock(file: BinaryIO, *, wait: bool) -> None:
    """
    Lock a file until it is closed; a process that is killed holds no locks.

    :param wait: for who holds it
    :raises BlockingIOError: if it is held and not waited for
    :raises OSError: if there are no locks
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _remove_cut_off(target: pathlib.Path) -> None:
    """Remove what processes that were killed have left of a file."""
    part = re.compile(rf"{re.escape(target.name)}\.[0-9a-f]{{8}}\.new")
    with contextlib.suppress(OSError):  # a folder that may not be listed
        for path in target.parent.iterdir():
            if part.fullmatch(path.name):
                with contextlib.suppress(OSError):  # its writer has just ended
                    if _is_cut_off(path):
                        path.unlink()


def _is_cut_off(path: pathlib.Path) -> bool:
    """Tell whether nobody writes a part any more."""
    quiet = time.time() - path.stat().st_mtime
    with path.open("rb+") as file:
        try:
            _lock(file, wait=False)
        except BlockingIOError:
            return False
        except OSError:
            return quiet > STALE
        return quiet > QUIET


@contextlib.contextmanager
def locked(path: str | pathlib.Path, patience: float = -1.0) -> Iterator[bool]:
    """
    Keep other processes from what a lock stands for.

    :param path: of the lock's file
    :param patience: seconds to wait for who holds it; -1: as long as it takes
    :return: False where there are no locks, or the lock's file is someone else's: others may be at
        it, too
    :raises filelock.Timeout: if another process has held it for so long
    """
    lock = FileLock(path, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError):
        pass
    try:
        yield lock.is_locked
    finally:
        lock.release()


def sync_folder(folder: pathlib.Path) -> None:
    """
    Let names that were changed in a folder survive a power cut.

    :param folder: exists
    """
    with contextlib.suppress(OSError):  # some systems open no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


_EXPLAINED = "this file was not written"


@contextlib.contextmanager
def explained(path: pathlib.Path) -> Iterator[None]:
    """
    Add to errors of the operating system which file was not written, and what to do.

    :param path: the file
    :raises OSError: of the same kind
    """
    before = sys.exc_info()[1]
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = _system_error(error, before)
        if cause is None or _EXPLAINED in str(cause):
            raise
        raise OSError(
            cause.errno,
            f"{cause.strerror}: {_EXPLAINED}, and one that was there before is as it was. Make "
            "room, or save in another folder",
            str(path),
        ) from error


def _system_error(error: BaseException | None, before: BaseException | None) -> OSError | None:
    """Find what the system said; torch hides it behind errors of its own."""
    while error is not None and error is not before:
        if isinstance(error, OSError) and error.errno:
            return error
        error = error.__context__
    return None


def check_folder(folder: pathlib.Path) -> None:
    """
    Make a folder and try to write in it.

    :param folder: may be there already
    :raises OSError: names the folder
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: nothing could be saved in this folder, so nothing was begun. Make "
            "room, or choose another",
            str(folder),
        ) from error
