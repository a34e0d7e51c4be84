"""Folders of saves: whatever cuts a save off, the last complete one counts, whole."""

import errno
import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo import DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.common.storage import files, saves
from dreamzoo.common.storage.container import FileError, reading
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.saves import LOCK, SAVES, new_save, newest, within

TINY: dict[str, Any] = dict(DreamerV3.smallest, buffer_size=500, seed=0)


def _names(steps: str) -> list[str]:
    return [f"{int(step):012d}_0123abcd" for step in steps]


def _make(folder: Path, name: str, keep: int = 1) -> None:
    with new_save(folder, name, keep) as new:
        (new / "file").write_text(name)


def test_the_last_saves_stay(tmp_path: Path) -> None:
    for name in _names("1234"):
        _make(tmp_path, name, keep=2)
        assert newest(tmp_path) == tmp_path / name
    *_, one, two, last = _names("12345")
    (tmp_path / f"{one}.new").mkdir()  # cut off
    (tmp_path / "notes").mkdir()
    assert {path.name for path in tmp_path.glob("0*[!w]")} == {one, two}
    _make(tmp_path, last, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {last, "notes", SAVES, LOCK}


def test_a_folder_without_a_list_is_a_save_itself(tmp_path: Path) -> None:
    """As dreamzoo 0.1 has left it, and as save() into one folder does."""
    (tmp_path / "model.zip").touch()
    assert newest(tmp_path) == tmp_path
    assert within(tmp_path, "model.zip") == tmp_path / "model.zip"
    assert within(tmp_path, "replay_buffer.npz") == tmp_path
    assert within(tmp_path / "model.zip", "other") == tmp_path / "model.zip"


@pytest.mark.parametrize("text", ["", "{", "5", '["../elsewhere"]', '["/etc"]', "[1]"])
def test_a_list_that_is_damaged_is_refused_and_says_which_saves_there_are(
    tmp_path: Path, text: str
) -> None:
    (name,) = _names("1")
    _make(tmp_path, name)
    (tmp_path / "saves.json").write_text(text)
    with pytest.raises(
        FileError, match=rf"saves\.json .* The folder has {name}; each can be given"
    ):
        newest(tmp_path)


def test_a_list_that_names_a_save_which_is_not_there_says_which_are(tmp_path: Path) -> None:
    name, other = _names("12")
    _make(tmp_path, name)
    (tmp_path / "saves.json").write_text(json.dumps([name, other]))
    with pytest.raises(FileError, match=rf"saves\.json names the save {other}, .* has {name}; "):
        newest(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_save_that_fails_leaves_the_older_ones(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def fail() -> None:
        with new_save(tmp_path, "b", 1) as new:
            (new / "file").write_text("half")
            raise error

    _make(tmp_path, "a")
    with pytest.raises(error):
        fail()
    assert newest(tmp_path) == tmp_path / "a"
    assert {path.name for path in tmp_path.iterdir()} == {"a", SAVES, LOCK}


@contextmanager
def _saving(folder: Path, name: str, keep: int) -> Iterator[None]:
    """Save in another thread, and end that save at the end."""
    begun, ends = threading.Event(), threading.Event()

    def save() -> None:
        with new_save(folder, name, keep) as new:
            begun.set()
            ends.wait(10)
            (new / "file").write_text(name)

    thread = threading.Thread(target=save)
    thread.start()
    assert begun.wait(10)
    try:
        yield
    finally:
        ends.set()
        thread.join(10)


@pytest.mark.parametrize("keep", [1, 2])
def test_two_trainings_in_one_folder_lose_no_save_to_each_other(tmp_path: Path, keep: int) -> None:
    """One begins to save while the other does: both are made, and the last of all stay."""
    one, other, third = _names("123")
    second = threading.Thread(target=lambda: _make(tmp_path, other, keep))
    with _saving(tmp_path, one, keep):
        second.start()
        second.join(0.2)
        assert {path.name for path in tmp_path.iterdir()} == {f"{one}.new", LOCK}
    second.join(10)
    _make(tmp_path, third, keep)
    last = [one, other, third][-keep:]
    assert json.loads((tmp_path / SAVES).read_text()) == last
    assert {path.name for path in tmp_path.iterdir()} == {*last, SAVES, LOCK}
    assert [(tmp_path / name / "file").read_text() for name in last] == last


def test_a_save_of_another_process_that_does_not_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saves, "PATIENCE", 0.1)
    one, other = _names("12")
    said = rf"process has been saving in {tmp_path} .* nothing was saved\. .* another folder"
    with _saving(tmp_path, one, 1), pytest.raises(TimeoutError, match=said):
        _make(tmp_path, other)
    assert {path.name for path in tmp_path.iterdir()} == {one, SAVES, LOCK}


@pytest.mark.parametrize("name", ["..", "", "notes"])
@pytest.mark.usefixtures("no_locks")
def test_a_list_that_names_other_folders_removes_none(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    (folder / "notes").mkdir(parents=True)
    (tmp_path / "thesis.tex").touch()
    (folder / SAVES).write_text(json.dumps([name]))
    (one,) = _names("1")
    if name == "notes":
        _make(folder, one)
    else:
        with pytest.raises(FileError, match="names folders elsewhere"):
            _make(folder, one)
    assert (folder / "notes").is_dir()
    assert (tmp_path / "thesis.tex").exists()
    assert (folder / one).exists() == (name == "notes")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:

    def no_lock(self: FileLock) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", no_lock)


@pytest.mark.usefixtures("no_locks")
def test_where_there_are_no_locks_only_what_the_list_drops_is_removed(tmp_path: Path) -> None:
    """What it lacks may be what another process is saving."""
    one, other, last = _names("123")
    (tmp_path / f"{other}.new").mkdir()
    _make(tmp_path, one)
    _make(tmp_path, last)
    assert {path.name for path in tmp_path.iterdir()} == {last, f"{other}.new", SAVES}


class _Killed(BaseException):
    """As a power cut: nothing that follows happens, clearing up neither."""


def _killing(monkeypatch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Stop at so many changes of the file system, before or after the change."""
    count = [0]

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] > at:
                raise _Killed
            result = function(*args, **kwargs)
            count[0] += 1
            if count[0] > at:
                raise _Killed
            return result

        return guarded

    for owner, names in ((os, ("fsync",)), (Path, ("replace", "unlink", "mkdir"))):
        for name in names:
            monkeypatch.setattr(owner, name, guard(getattr(owner, name)))
    monkeypatch.setattr(shutil, "rmtree", guard(shutil.rmtree))
    return count


def _save(folder: Path, name: str) -> None:
    with new_save(folder, name, 1) as new:
        for file in ("model.zip", "replay_buffer.npz", "vecnormalize.zip"):
            with replaced_file(new / file, "zip") as out:
                out.write(name.encode())


def test_a_kill_at_any_change_of_files_leaves_one_save_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model, replay and statistics are those of the last save, or all are those of the new one."""
    monkeypatch.setattr(files, "QUIET", 0.0)
    old, new, after = (f"{step:012d}_0123abcd" for step in (1, 2, 3))
    found: list[str] = []
    at, is_cut = -1, True
    while is_cut:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        _save(folder, old)
        with monkeypatch.context() as patch:
            _killing(patch, at)
            try:
                _save(folder, new)
                is_cut = False
            except _Killed:
                is_cut = True
        texts = {path.read_text() for path in newest(folder).iterdir()}
        assert len(list(newest(folder).iterdir())) == 3
        found += texts
        assert len(found) == at + 1  # all of one save
        _save(folder, after)
        assert {path.name for path in folder.iterdir()} == {after, SAVES, LOCK}
    assert set(found) == {old, new}
    assert found.index(new) > 20  # the list is replaced after everything else
    assert set(found[found.index(new) :]) == {new}


def test_all_files_of_a_save_name_one_moment(tmp_path: Path) -> None:
    model = DreamerV3("MlpPolicy", make_vec_env("CartPole-v1", n_envs=2, seed=0), **TINY)
    moments: list[str] = []
    for steps in (20, 40):
        model.learn(20, callback=SaveCallback(tmp_path, 20), reset_num_timesteps=steps == 20)
        found = set()
        for name, kind in [
            ("model.zip", "agent"),
            ("replay_buffer.npz", "replay"),
            ("replay_buffer.environments.zip", "environments"),
        ]:
            with reading(newest(tmp_path) / name, kind) as reader:
                found.add(reader.moment)
        assert len(found) == 1
        moments.append(*found)
    assert moments[0] != moments[1]
    assert DreamerV3.load(tmp_path)._moment() == moments[1]


def test_statistics_of_another_save_are_noticed(tmp_path: Path) -> None:
    """They are used with a warning, and no training goes on with them."""
    for name in ("one", "other"):
        env = VecNormalize(make_vec_env("CartPole-v1", n_envs=2, seed=0))
        agent = DreamerV3("MlpPolicy", env, **TINY)
        agent.learn(20, callback=SaveCallback(tmp_path / name, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for training in (False, True):
            assert load_normalizer(tmp_path / "one", training=training) is not None
    one, other = (newest(tmp_path / name) / "vecnormalize.zip" for name in ("one", "other"))
    shutil.copy(other, one)
    with pytest.warns(UserWarning, match=r"vecnormalize\.zip was not saved together with .*model"):
        assert load_normalizer(one.parent / "model") is not None
    with pytest.raises(ValueError, match=r"vecnormalize\.zip was not saved .* training cannot"):
        load_normalizer(tmp_path / "one", training=True)
    (one.parent / "model.zip").write_bytes(b"damaged")  # whoever loads it says so
    assert load_normalizer(tmp_path / "one", training=True) is not None
