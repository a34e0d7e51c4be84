"""
What the papers train on: suites of tasks, each with its protocol and what its returns mean.

The numbers stand in suites.csv and suite_tasks.csv, with their sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dreamzoo.benchmark.atari import read_table, references
from dreamzoo.envs.errors import find_name
from dreamzoo.envs.make import UNAVAILABLE
from dreamzoo.envs.minecraft.install import INSTALL as INSTALL_MINERL
from dreamzoo.envs.procgen import INSTALL as INSTALL_PROCGEN

_FOLDER = Path(__file__).parent
#: Of suites that no extra brings, or none alone.
_OTHER_INSTALLS = {"procgen": INSTALL_PROCGEN, "minecraft": INSTALL_MINERL}


@dataclass(frozen=True)
class Task:
    """
    A task and its protocol. What a protocol leaves open is None.

    Example:
        >>> from dreamzoo.benchmark.suites import suite
        >>> task = suite("crafter").tasks[0]
        >>> task.env, task.frames, task.returns["dreamer_v3"]
        ('crafter', 1000000, 11.7)

    :param suite: which it belongs to
    :param name: within the suite
    :param env: name for :func:`~dreamzoo.envs.make_env`
    :param settings: how many settings the task is measured in; ``env`` is the first of them
    :param action_repeat: frames of a step
    :param frames: of training
    :param n_envs: environments of training
    :param train_ratio: replayed steps for each step of the environment
    :param size: of DreamerV3
    :param metric: what the suite reports
    :param returns: mean returns that others are measured against, by who reaches them: ``random``,
        ``human``, ``record``, ``blind``, ``best``, ``dreamer_v3`` (at the end of training). For
        bsuite ``dreamer_v3_score``, which is no return but bsuite's own number, from 0 to 1; for
        Crafter ``random_unlocked`` and ``human_unlocked``, the achievements of an episode
    """

    suite: str
    name: str
    env: str
    settings: int
    action_repeat: int
    frames: int | None
    n_envs: int | None
    train_ratio: float | None
    size: str | None
    metric: str
    returns: Mapping[str, float]

    @property
    def steps(self) -> int | None:
        """Steps of training: frames without the action repeat."""
        return None if self.frames is None else self.frames // self.action_repeat

    @property
    def envs(self) -> list[str]:
        """Names for ``make_env`` of all settings."""
        if self.settings == 1:
            return [self.env]
        experiment, _, _ = self.env.rpartition("/")
        return [f"{experiment}/{number}" for number in range(self.settings)]


@dataclass(frozen=True)
class Suite:
    """
    Tasks that a paper reports together.

    Example:
        >>> from dreamzoo.benchmark.suites import suite
        >>> atari = suite("atari100k")
        >>> len(atari.tasks), atari.install
        (26, 'pip install "dreamzoo[atari]"')

    :param name: of the suite
    :param about: one line
    :param tasks: in order
    :param install: the command that installs what its environments need
    :param unavailable: why its environments cannot be had; empty: they can
    """

    name: str
    about: str
    tasks: tuple[Task, ...]
    install: str
    unavailable: str = ""

    def task(self, name: str) -> Task:
        """
        Find a task by its name in any usual spelling.

        :param name: as ``walker-walk``
        :raises ValueError: if the suite has none
        """
        by_name = {task.name: task for task in self.tasks}
        return by_name[find_name(f"task of {self.name}", name, by_name)]


def suite(name: str) -> Suite:
    """
    Return a suite with its tasks.

    Example:
        >>> from dreamzoo.benchmark.suites import suite
        >>> proprio = suite("dmc_proprio")
        >>> len(proprio.tasks), proprio.tasks[0].env
        (18, 'dmc/acrobot-swingup')
        >>> pong = suite("atari57").task("pong")
        >>> pong.steps, pong.n_envs, pong.train_ratio, pong.size
        (50000000, 16, 32.0, '200m')
        >>> pong.returns["random"], pong.returns["human"]
        (-20.7, 14.6)

    :param name: one of :func:`suite_names`
    :raises ValueError: if there is no such suite
    """
    return _suites()[find_name("suite", name, _suites())]


def suite_names() -> list[str]:
    """
    Return the names of all suites.

    Example:
        >>> from dreamzoo.benchmark.suites import suite_names
        >>> suite_names()[:3]
        ['atari57', 'atari55', 'atari100k']
    """
    return list(_suites())


@cache
def _suites() -> dict[str, Suite]:
    rows = read_table(_FOLDER / "suite_tasks.csv")
    found = {}
    for protocol in read_table(_FOLDER / "suites.csv"):
        name = protocol["name"]
        found[name] = _suite(protocol, [row for row in rows if name in row["suites"].split()])
    return found


def _suite(protocol: dict[str, str], rows: list[dict[str, str]]) -> Suite:
    name, extra = protocol["name"], protocol["extra"]
    install = f'pip install "dreamzoo[{extra}]"' if extra else _OTHER_INSTALLS.get(name, "")
    tasks = tuple(_task(protocol, row) for row in rows)
    return Suite(name, protocol["about"], tasks, install, UNAVAILABLE.get(name, ""))


def _task(protocol: dict[str, str], row: dict[str, str]) -> Task:
    def whole(name: str) -> int | None:
        return int(protocol[name]) if protocol[name] else None

    who = (
        *("random", "human", "blind", "best", "dreamer_v3", "dreamer_v3_score"),
        *("random_unlocked", "human_unlocked"),
    )
    returns = {name: float(row[name]) for name in who if row[name]}
    if row["env"].startswith("atari"):
        found = references()[row["task"]]._asdict()
        returns |= {name: value for name, value in found.items() if value is not None}
    return Task(
        suite=protocol["name"],
        name=row["task"],
        env=row["env"],
        settings=int(row["settings"] or 1),
        action_repeat=int(protocol["action_repeat"]),
        frames=whole("frames"),
        n_envs=whole("n_envs"),
        train_ratio=float(protocol["train_ratio"]) if protocol["train_ratio"] else None,
        size=protocol["size"] or None,
        metric=protocol["metric"],
        returns=returns,
    )
