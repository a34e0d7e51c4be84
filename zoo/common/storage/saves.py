"""Folders of saves: each complete in a folder of its own, and one file that names the newest."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from filelock import Timeout

from dreamzoo.common.storage.container import FileError, naming
from dreamzoo.common.storage.files import locked, replaced_file, sync_folder
from dreamzoo.nn.fast import ranks

#: Names the saves of a folder, the newest last; replaced as a whole.
SAVES = "saves.json"
#: Held by the process that saves.
LOCK = "saves.lock"
#: Seconds to wait for another process that saves in the same folder.
PATIENCE = 600.0
#: Files of a save; SB3 writes the replays of its own agents as pickles.
MODEL, REPLAY, TRAINING = "model.zip", "replay_buffer.npz", "training_state.zip"
REPLAY_OF_SB3 = "replay_buffer.pkl"
#: Names of saves, complete or not.
_NAME = re.compile(r"\d{12}_[0-9a-f]{8}(\.new)?")

#: Ends the names of what is one rank's own.
_PART = re.compile(r"_rank\d+of(\d+)\.")

_Path = TypeVar("_Path", bound="str | pathlib.Path | io.BufferedIOBase")


def newest(folder: str | pathlib.Path) -> pathlib.Path:
    """
    Find the newest save.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.callbacks import SaveCallback
        >>> from dreamzoo.common.storage.saves import newest
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> model = model.learn(20, callback=SaveCallback("run", every=20))
        >>> (newest("run") / "model.zip").exists()
        True

    :param folder: of saves, or with the files of one
    :return: the folder with its files
    :raises FileError: if the list of saves is damaged, or the save is not there
    """
    folder = pathlib.Path(folder)
    try:
        names = _names(folder)
    except FileError as error:
        raise FileError(f"{error} {_there(folder)}") from error
    if not names:
        return folder
    if not (last := folder / names[-1]).is_dir():
        raise FileError(
            f"{folder / SAVES} names the save {names[-1]}, which is not there. {_there(folder)}"
        )
    return last


def within(path: _Path, name: str) -> "_Path | pathlib.Path":
    """
    Find a file of the newest save where a folder is given.

    :param path: a file, which is returned as it is, or a folder
    :param name: of the file in the folder
    """
    if isinstance(path, str | pathlib.Path) and pathlib.Path(path).is_dir():
        inside = newest(path) / name
        if (pathlib.Path(path) / SAVES).exists() or inside.exists():
            return inside
    return path


def save_name(steps: int) -> str:
    """
    Name a save, as no other is named.

    :param steps: of the agent
    """
    return f"{steps:012d}_{uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def new_save(folder: pathlib.Path, name: str, keep: int) -> Iterator[pathlib.Path]:
    """
    Make a save that is complete or not there, and remove those that are too old.

    The moment at which the list of saves is replaced is the moment at which the new one counts.
    Processes that save in one folder at the same time wait for each other; the last saves of them
    all stay.

    :param folder: of the saves
    :param name: of this one, see :func:`save_name`
    :param keep: how many last saves stay
    :return: folder to write to
    :raises OSError: names the file that could not be written, or says that another process does
        not end its save; the older saves are as they were
    """
    new = folder / f"{name}.new"
    with _locked(folder) as is_alone:
        listed = _names(folder)  # first: nothing is written for a list that cannot be read
        try:
            new.mkdir()
            yield new
            for path in new.iterdir():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            sync_folder(new)
            new.replace(folder / name)
            sync_folder(folder)  # before a list names it
        finally:
            shutil.rmtree(new, ignore_errors=True)
        names = [*listed, name][-keep:]
        with replaced_file(folder / SAVES, "json") as file:
            file.write(json.dumps(names).encode())
        if is_alone:  # what was cut off is nobody's
            listed = [path.name for path in folder.iterdir()]
        for old in {*listed} - {*names}:
            if _NAME.fullmatch(old):
                shutil.rmtree(folder / old, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[bool]:
    """
    Keep other processes from saving in a folder, see :func:`locked`.

    :raises OSError: if another process is, for longer than it may
    """
    with contextlib.ExitStack() as stack:
        try:
            is_alone = stack.enter_context(locked(folder / LOCK, PATIENCE))
        except Timeout:
            raise TimeoutError(
                f"Another process has been saving in {folder} for {PATIENCE:.0f} s, so nothing was "
                "saved. End it, or save in another folder."
            ) from None
        yield is_alone


def save_jointly(
    folder: pathlib.Path, name: str, keep: int, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """
    Make one save to which all ranks write; complete, or not there.

    :param folder: of the saves, which all ranks see
    :param name: of this one, see :func:`save_name`; the first rank's counts
    :param keep: how many last saves stay
    :param write: what this rank writes, given the folder to write to
    :return: the save
    :raises OSError: on all ranks, and names the file that one of them could not write
    """
    name = ranks.told(name)[0]
    with contextlib.ExitStack() as stack:
        if ranks.index() == 0:
            _all_or_none(lambda: stack.enter_context(new_save(folder, name, keep)))
        else:
            _all_or_none(lambda: None)
        _all_or_none(lambda: write(folder / f"{name}.new"))
        _all_or_none(stack.close)
    return folder / name


def _all_or_none(step: Callable[[], Any]) -> None:
    """Do something that has to succeed on all ranks."""
    error: OSError | None = None
    try:
        step()
    except OSError as own:
        error = own
    said = [text for text in ranks.told(str(error) if error else "") if text]
    if error is not None:
        raise error
    if said:
        raise OSError(said[0])


def own_part(name: str) -> str:
    """
    Name what a rank keeps of its own in a save; the first one's file has the name itself.

    Example:
        >>> from dreamzoo.common.storage.saves import own_part
        >>> own_part("replay_buffer.npz")
        'replay_buffer.npz'

    :param name: of the file
    """
    here = ranks.place()
    path = pathlib.PurePath(name)
    return f"{path.stem}_rank{here.index}of{here.count}{path.suffix}" if here.index else name


def check_ranks(save: pathlib.Path) -> None:
    """
    Refuse to go on from a save of another number of ranks.

    :param save: its folder
    :raises FileError: says how many there were
    """
    parts = (_PART.search(path.name) for path in save.iterdir())
    saved = next((int(part[1]) for part in parts if part), 1)
    count = ranks.place().count
    if saved != count:
        start = "one process" if saved == 1 else f"torchrun --nproc_per_node={saved}"
        raise FileError(
            f"{save} holds a training of {saved} rank{'s' * (saved > 1)}, each with a replay and "
            f"environments of its own, and cannot go on with {count}. Go on with {start}. To act, "
            "to evaluate and to dream, any process can load the agent."
        )


def _names(folder: pathlib.Path) -> list[str]:
    """List the saves of a folder, the newest last."""
    path = folder / SAVES
    if not path.exists():
        return []
    with naming(str(path)):
        names = json.loads(path.read_bytes())
        if not all(map(_is_inside, names)):
            raise FileError(f"{path} names folders elsewhere.")
        return [str(name) for name in names]


def _there(folder: pathlib.Path) -> str:
    """Say which saves a folder has, for one whose list is of no use."""
    names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return f"The folder has {', '.join(names) or 'none'}; each can be given in its place."


def _is_inside(name: str) -> bool:
    """Tell whether a name is that of something in a folder itself."""
    return name not in ("", "..") and pathlib.PurePath(name).name == name
