"""Files are complete or not there."""

import errno
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dreamzoo.common.storage import files
from dreamzoo.common.storage.files import (
    QUIET,
    STALE,
    check_folder,
    explained,
    replaced_file,
)

FullDisk = Callable[[int], AbstractContextManager[None]]


def test_a_file_takes_the_place_of_the_older_one_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(b"old")
    with replaced_file(path, "pkl") as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, pickle.PicklingError])
def test_whatever_interrupts_it_the_older_one_stays(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(b"old")

    def write() -> None:
        with replaced_file(path, "pkl") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_writers_of_one_name_the_last_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    with replaced_file(path, "pkl") as last:
        last.write(b"la")
        last.flush()
        with replaced_file(path, "pkl") as first:
            first.write(b"first, and longer")
        assert path.read_bytes() == b"first, and longer"
        last.write(b"st")
    assert path.read_bytes() == b"last"
    assert list(tmp_path.iterdir()) == [path]


_WRITER = """
import sys
from dreamzoo.common.storage.files import replaced_file
with replaced_file(sys.argv[1], "pkl") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    input()
"""


def test_what_a_killed_process_left_is_removed_and_no_other_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its writer lives does not depend on names of machines or numbers of processes."""
    monkeypatch.setattr(files, "QUIET", 0.0)
    path = tmp_path / "file.pkl"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdin=-1, stdout=-1, text=True)
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
    writers[0].kill()
    writers[0].wait()
    others = {"other.pkl.0123abcd.new", "file.pkl.new"}
    for name in others:
        (tmp_path / name).touch()
    assert len(list(tmp_path.glob("file.pkl.????????.new"))) == 2
    with replaced_file(path, "pkl") as file:
        file.write(b"mine")
    assert len(list(tmp_path.glob("file.pkl.????????.new"))) == 1
    assert path.read_bytes() == b"mine"
    writers[1].communicate("\n")
    assert writers[1].returncode == 0
    assert path.read_bytes() == b"half"
    assert {path.name for path in tmp_path.iterdir()} == {*others, "file.pkl"}


def test_a_part_is_locked_until_it_has_taken_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may begin to write the same file at any moment."""
    monkeypatch.setattr(files, "QUIET", 0.0)
    replace, path = Path.replace, tmp_path / "file.pkl"

    def at_the_same_time(self: Path, target: Path) -> Path:
        files._remove_cut_off(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", at_the_same_time)
    with replaced_file(path, "pkl") as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_part_that_was_just_written_to_is_not_taken_for_cut_off(tmp_path: Path) -> None:
    """Some file systems tell other machines of no lock."""
    part = tmp_path / "file.pkl.0123abcd.new"
    for age, stays in ((0.0, True), (2 * QUIET, False)):
        part.touch()
        os.utime(part, (then := time.time() - age, then))
        with replaced_file(tmp_path / "file.pkl", "pkl"):
            pass
        assert part.exists() == stays


def test_without_locks_parts_are_removed_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lock(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files, "_lock", no_lock)
    old, new = (tmp_path / f"file.pkl.0123abc{i}.new" for i in range(2))
    for part in (old, new):
        part.touch()
    os.utime(old, (long_ago := time.time() - STALE - 1, long_ago))
    with replaced_file(tmp_path / "file.pkl", "pkl"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {new.name, "file.pkl"}


def test_long_names_and_folders_that_may_not_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", refuse)
    path = tmp_path / f"{'n' * 235}.zip"
    with replaced_file(path, "zip") as file:
        file.write(b"x")
    assert path.read_bytes() == b"x"


def test_a_full_disk_is_named_with_the_file(tmp_path: Path, full_disk: FullDisk) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(b"old")
    with (
        full_disk(1000),
        pytest.raises(OSError, match=r"not written, .* as it was\. Make room.*file\.pkl") as caught,
        replaced_file(path, "pkl") as file,
    ):
        file.write(bytes(10**5))
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_are_read_as_sb3_reads_them(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    with replaced_file(str(tmp_path / "plain"), "zip") as file:
        file.write(b"1")
    with replaced_file(tmp_path / "run_1.5", "zip") as file:
        file.write(b"2")
    with (
        pytest.warns(UserWarning, match="is a folder"),
        replaced_file(tmp_path / "folder.zip", "zip") as file,
    ):
        file.write(b"3")
    with (
        pytest.warns(UserWarning, match="is new"),
        replaced_file(tmp_path / "a" / "b" / "c", "zip") as file,
    ):
        file.write(b"4")
    names = {"plain.zip": b"1", "run_1.5": b"2", "folder.zip_2": b"3", "a/b/c.zip": b"4"}
    for name, written in names.items():
        assert (tmp_path / name).read_bytes() == written
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4


def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "link.zip").symlink_to(tmp_path / "there")
    with replaced_file(tmp_path / "link.zip", "zip") as file:
        file.write(b"x")
    assert (tmp_path / "link.zip").is_symlink()
    assert (tmp_path / "there").read_bytes() == b"x"
    os.mkfifo(tmp_path / "pipe.zip")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.zip").read_bytes()))
    reader.start()
    with replaced_file(tmp_path / "pipe.zip", "zip") as file:
        file.write(b"y")
    reader.join(10)
    assert read == [b"y"]
    assert (tmp_path / "pipe.zip").is_fifo()


def test_a_place_where_nothing_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(NotADirectoryError, match=r"Not a directory.*another folder.*file/a\.zip"),
        replaced_file(tmp_path / "file" / "a", "zip"),
    ):
        pytest.fail("was opened")
    with pytest.raises(OSError, match=r"nothing could be saved in this folder.*file/folder"):
        check_folder(tmp_path / "file" / "folder")
    check_folder(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_errors_that_have_nothing_to_do_with_files_stay_what_they_are(tmp_path: Path) -> None:
    """Also while another error of the system is being handled."""

    def fail() -> None:
        with explained(tmp_path):
            raise RuntimeError("own")

    try:
        raise OSError(errno.ENOSPC, "full")
    except OSError:
        with pytest.raises(RuntimeError, match="own"):
            fail()
