"""Folders of npz files, one for every episode, as recordings."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamzoo.common.recording import Episode, Recording, StoredEpisodes
from dreamzoo.common.storage.plain import from_json, to_json

#: File beside the episodes that says of which spaces they are.
SPACES = "spaces.json"
OBSERVATIONS = "observations"
#: What a file of the authors' Dreamers holds beside observations: n + 1 of each.
_BESIDE = {"action", "reward", "discount", "is_first", "is_last", "is_terminal"}


def write_npz(recording: Recording, folder: str | Path) -> None:
    """
    Write a recording as a folder of npz files, which :func:`read_npz` reads.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.offline import Episode, Recording, read_npz, write_npz
        >>> from gymnasium import spaces
        >>> episode = Episode(np.zeros((6, 3)), np.zeros(5, int), np.ones(5), terminated=True)
        >>> write_npz(Recording(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), [episode]), "mine")
        >>> read_npz("mine")[0].steps
        5

    :param recording: whose episodes are written
    :param folder: made if it does not exist
    :raises FileExistsError: if there are episodes in it
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if next(folder.glob("*.npz"), None) is not None:
        raise FileExistsError(f"There are episodes in {folder}. Nothing was written.")
    known = [recording.observation_space, recording.action_space]
    (folder / SPACES).write_text(json.dumps(to_json(known)))
    for i, episode in enumerate(recording):
        observed = episode.observations
        parts = (
            {f"{OBSERVATIONS}.{key}": part for key, part in observed.items()}
            if isinstance(observed, dict)
            else {OBSERVATIONS: observed}
        )
        np.savez_compressed(
            folder / f"{i:06}.npz",
            allow_pickle=False,
            **parts,
            actions=episode.actions,
            rewards=episode.rewards,
            terminated=np.array(episode.terminated),
        )


def read_npz(
    folder: str | Path,
    observation_space: spaces.Space[Any] | None = None,
    action_space: spaces.Space[Any] | None = None,
) -> Recording:
    """
    Read a folder of npz files; none of them runs code.

    An episode of n steps is a file with ``observations`` (n + 1, ...), or ``observations.KEY`` for
    every key of a Dict, ``actions`` (n, ...), ``rewards`` (n,) and ``terminated``. Files of
    the authors' Dreamers are read, too: ``action``, ``reward``, ``is_terminal`` or ``discount`` and
    one array for every key of the observations, all (n + 1, ...), with the action that led there.

    Example:
        >>> import numpy as np
        >>> import pathlib
        >>> from dreamzoo.offline import read_npz
        >>> from gymnasium import spaces
        >>> pathlib.Path("theirs").mkdir()
        >>> images, reward = np.zeros((6, 64, 64, 3), np.uint8), np.zeros(6)
        >>> np.savez(
        ...     "theirs/0.npz", image=images, action=np.zeros((6, 2)), reward=reward,
        ...     discount=np.ones(6),
        ... )
        >>> image = spaces.Dict(image=spaces.Box(0, 255, (64, 64, 3), np.uint8))
        >>> read_npz("theirs", image, spaces.Box(-1, 1, (2,))).steps
        5

    :param folder: with the files, which are read in the order of their names
    :param observation_space: default: what ``spaces.json`` says, which :func:`write_npz` writes
    :param action_space: the same; actions of a Discrete may be one-hot
    :return: the recording
    :raises FileNotFoundError: if there is no such folder, or no npz file in it
    :raises ValueError: if nothing says what the spaces are; for a file that holds something else,
        when that one is read
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"There are no npz files in {folder}.")
    given = [observation_space, action_space]
    if None in given:
        if not (folder / SPACES).exists():
            raise ValueError(
                f"Nothing says what the spaces of {folder} are: pass observation_space and "
                f"action_space, or put {SPACES} there with write_npz()."
            )
        known = from_json(json.loads((folder / SPACES).read_text()))
        given = [known[i] if space is None else space for i, space in enumerate(given)]
    observations, actions = given
    assert observations is not None
    assert actions is not None
    return Recording(
        observations, actions, _Files(paths, observations, actions), name=f"the folder {folder}"
    )


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Open a file whose arrays are read when they are asked for; name it where that fails."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no episode: {error}") from error


def _is_dreamers(found: Mapping[str, np.ndarray]) -> bool:
    """Tell whether a file is of the authors' Dreamers."""
    return "action" in found and "actions" not in found


class _Files(StoredEpisodes):
    def __init__(
        self, paths: list[Path], observed: spaces.Space[Any], actions: spaces.Space[Any]
    ) -> None:
        self._paths, self._observed, self._actions = paths, observed, actions

    def __len__(self) -> int:
        return len(self._paths)

    def length(self, index: int) -> int:
        with _opened(self._paths[index]) as file:  # arrays that nobody asks for stay in the file
            return len(file["reward"]) - 1 if _is_dreamers(file) else len(file["rewards"])

    def __getitem__(self, index: Any) -> Any:
        with _opened(self._paths[index]) as file:
            found = {name: file[name] for name in file}
            return self._of_dreamer(found) if _is_dreamers(found) else self._own(found)

    def _own(self, found: dict[str, np.ndarray]) -> Episode:
        observed: Any = found.get(OBSERVATIONS)
        if isinstance(self._observed, spaces.Dict):
            observed = {key: found[f"{OBSERVATIONS}.{key}"] for key in self._observed}
        elif observed is None:
            raise ValueError(f"it has {sorted(found)}, and no {OBSERVATIONS}")
        return Episode(observed, found["actions"], found["rewards"], bool(found["terminated"]))

    def _of_dreamer(self, found: dict[str, np.ndarray]) -> Episode:
        """Read what the authors' Dreamers write: each action beside what it led to."""
        keys = [key for key in found if key not in _BESIDE and not key.startswith("log_")]
        if isinstance(self._observed, spaces.Dict):
            observed: Any = {key: found[key] for key in self._observed}
        elif len(keys) == 1:
            observed = found[keys[0]]
        else:
            raise ValueError(f"it has {keys}; expected one observation, or a Dict as the space")
        actions = found["action"][1:]
        if isinstance(self._actions, spaces.Discrete) and actions.ndim == 2:
            actions = actions.argmax(1) + self._actions.start
        if "is_terminal" in found:
            terminated = bool(found["is_terminal"][-1])
        else:
            terminated = bool(found["discount"][-1] == 0.0)
        return Episode(observed, actions, found["reward"][1:], terminated)
