"""Files beside an agent's own: where its training stood, and copies of its environments."""

import pathlib
import pickle
import warnings
from typing import Any

from dreamzoo.common.storage.container import (
    Reader,
    Source,
    Writer,
    naming,
    opened,
    reading,
    writing,
)
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.plain import from_json, to_json

#: Member with the state of a training, in a file of its own or in that of a replay.
MEMBER = "training.json"
#: What every state of a training says.
NEEDED = {"agent", "num_timesteps", "n_envs", "torch", "cuda", "numpy", "python", "normalizer"}


def write_training(writer: Writer, state: dict[str, Any]) -> None:
    """
    Write where a training stands.

    :param writer: of the file
    :param state: plain values
    """
    writer.write_json(MEMBER, to_json(state, "the state of the training"))


def read_training(reader: Reader) -> dict[str, Any] | None:
    """
    Read where a training stood.

    :param reader: of the file
    :return: None if the file does not say
    """
    if MEMBER not in reader.names:
        return None
    state: dict[str, Any] = from_json(reader.read_json(MEMBER))
    if missing := sorted(NEEDED - state.keys()):
        raise ValueError(f"its state of a training lacks {', '.join(missing)}")
    return state


def environments_file(path: str | pathlib.Path) -> pathlib.Path:
    """
    Name the file of the copies of environments that belong to another file.

    :param path: of the replay or the training state, with a suffix or without
    """
    path = pathlib.Path(path)
    stem = path.stem if path.suffix in (".npz", ".pkl", ".zip") else path.name
    return path.with_name(f"{stem}.environments.zip")


def write_copies(path: pathlib.Path, copies: dict[str, Any] | None, moment: str) -> None:
    """
    Write copies of environments in a file of their own; only their author's code can read them.

    :param path: of the file; removed if there are no copies
    :param copies: of :func:`dreamzoo.common.environments.state.save_env_state`
    :param moment: shared by all files of one save
    """
    if copies is None:
        path.unlink(missing_ok=True)
        return
    with replaced_file(path, "zip") as file, writing(file, "environments", moment) as writer:
        writer.write_json("structure.json", copies["structure"])
        for name in ("state", "known"):
            writer.write(f"{name}.pkl.z", copies[name])


def read_copies(path: pathlib.Path, moment: str, trusted: bool) -> dict[str, Any] | None:
    """
    Read copies of environments, which :func:`load_env_state` may then run.

    :param path: of the file
    :param moment: of the file that they belong to
    :param trusted: whether code of the file may run
    :return: None, after a warning that says why, if the environments have to begin new episodes
    :raises FileError: if the file is damaged
    """
    if not path.exists():
        return None
    why = "holds copies of the environments, which run code when they are loaded"
    if trusted:
        with reading(path, "environments") as reader:
            if reader.moment == moment:
                parts = {name: reader.read(f"{name}.pkl.z") for name in ("state", "known")}
                return {"structure": reader.read_json("structure.json"), **parts}
        why = "is of another save"
    advice = "" if trusted else " To go on in the middle of episodes, pass trusted=True."
    warnings.warn(
        f"{path} {why}: new episodes begin; everything else continues.{advice}", stacklevel=5
    )
    return None


def read_earlier(source: Source, *suffixes: str) -> Any:
    """
    Read a file of dreamzoo 0.1, which runs whatever code is in it.

    :param source: path, with one of the suffixes or without, or an open file
    :param suffixes: without the point, in the order in which they are tried
    :raises FileError: if it is not complete
    """
    with opened(source, *suffixes) as (file, label), naming(label):
        file.seek(0)
        return pickle.load(file)
