"""What a training run is, and what its folder says of it."""

import ast
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch as th

import dreamzoo
from dreamzoo.common.environments.normalizer import EARLIER
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.saves import LOCK, MODEL, SAVES, newest

CONFIG = "config.json"
#: Whatever a run writes to its folder; dreamzoo 0.1 wrote its only save there, too.
WRITTEN = (
    CONFIG,
    SAVES,
    LOCK,
    f"{CONFIG}.*.new",
    f"{SAVES}.*.new",
    "[0-9]" * 12 + "_*",
    "evaluations*.npz",
    "progress*.csv",
    "log*.txt",
    "events.out.tfevents.*",
    *(MODEL, "replay_buffer*.pkl", "training_state.pkl", EARLIER),
)
#: What a resumed run can have different; all else is in its model, its replay or its tables.
FREE = ("steps", "eval_every", "save_every", "label", "device", "threads")
#: Suites whose observations are boards.
BOARDS = ("minatar", "minigrid")
#: Those whose observations are images.
IMAGES = ("atari", "atari100k", "crafter", "dmc_pixels", "pixels", "procgen")
#: Arguments that stand in pairs of a name and a value.
PAIRED = ("env_kwargs", "policy_kwargs", "agent_kwargs")

Pairs = list[tuple[str, Any]]


@dataclass
class Run:
    """
    What is trained in which environment, how it is evaluated, and where it is kept.

    :param agent: name in ``dreamzoo.AGENTS``, of an agent of SB3 in lower case, or recurrent_ppo
    :param env: name for :func:`dreamzoo.envs.make_env`
    :param out: folder
    :param env_kwargs: of the function that makes the environment
    :param policy: name of the policy
    :param policy_kwargs: of the policy
    :param agent_kwargs: of the agent's constructor
    :param normalize: give observations mean 0 and variance 1 with ``VecNormalize``
    :param n_envs: environments of training, of every rank where torchrun starts several
    :param stagger: the first episode of an environment of training ends after a random number of
        up to so many steps, see :class:`~dreamzoo.wrappers.StaggeredStart`; 0: it does not
    :param steps: of all environments together
    :param eval_every: steps between two evaluations
    :param eval_episodes: of each
    :param deterministic_eval: evaluate most likely actions instead of sampled ones
    :param save_every: steps between two saves
    :param seed: of training; evaluation has another
    :param device: of the agent
    :param threads: of torch in ``dreamzoo train``, and that a cluster keeps for it; for the record
        in :func:`~dreamzoo.benchmark.runs.train`
    :param published: names of a paper's variants, for the record; None: the settings are not those
        of a paper
    :param label: what tables and pictures call it; empty: its agent
    :param resume: from what lies in the folder
    :param overwrite: remove an earlier run from the folder
    """

    agent: str
    env: str
    out: Path
    env_kwargs: Pairs = field(default_factory=list)
    policy: str = "MlpPolicy"
    policy_kwargs: Pairs = field(default_factory=list)
    agent_kwargs: Pairs = field(default_factory=list)
    normalize: bool = False
    n_envs: int = 1
    stagger: int = 0
    steps: int = 24_000
    eval_every: int = 2_000
    eval_episodes: int = 10
    deterministic_eval: bool = False
    save_every: int = 2_000
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    published: list[str] | None = None
    label: str = ""
    resume: bool = False
    overwrite: bool = False


def default_policy(agent: str, env: str, env_kwargs: Pairs) -> str:
    """
    Name the policy of a run for which none is named.

    Example:
        >>> from dreamzoo.benchmark.run_config import default_policy
        >>> [default_policy(agent, "minatar/breakout", []) for agent in ("dreamer_v3", "dqn")]
        ['CnnPolicy', 'MlpPolicy']
        >>> default_policy("ppo", "crafter", []), default_policy("sac", "dmc/walker-walk", [])
        ('CnnPolicy', 'MultiInputPolicy')

    :param agent: see :class:`Run`
    :param env: see :class:`Run`
    :param env_kwargs: see :class:`Run`
    :return: ``CnnPolicy`` for images, and for boards where an agent of dreamzoo sees them, as SB3's
        cannot read them as images; ``MultiInputPolicy`` for observations of several parts; else
        ``MlpPolicy``
    """
    suite, given = env.partition("/")[0], dict(env_kwargs)
    parts = suite == "minecraft" or (suite == "dmc" and not given.get("flatten"))
    if parts or given.get("previous_action"):
        return "MultiInputPolicy"
    is_board = suite in BOARDS and agent in dreamzoo.AGENTS
    return "CnnPolicy" if is_board or suite in IMAGES else "MlpPolicy"


def command_line(run: Run, *, resumable: bool = False) -> list[str]:
    """
    Write a run as arguments of ``dreamzoo train``, without what it is by default there.

    Example:
        >>> from pathlib import Path
        >>> from dreamzoo.benchmark.run_config import Run, command_line
        >>> run = Run("sac", "Pendulum-v1", Path("runs/sac"), agent_kwargs=[("gamma", 0.9)])
        >>> " ".join(command_line(run))
        '--agent sac --env Pendulum-v1 -a gamma=0.9 --threads 1 --out runs/sac'

    :param run: what is trained
    :param resumable: also say by default what a resumed run would else have as it had it before
    """
    words: list[str] = []
    said = FREE if resumable else ("threads",)
    for item in fields(Run):
        value, option = getattr(run, item.name), "--" + item.name.replace("_", "-")
        default = _DEFAULTS.get(item.name, MISSING)
        if item.name == "policy":
            default = default_policy(run.agent, run.env, run.env_kwargs)
        if item.name in _REQUESTS or (value == default and item.name not in said):
            continue
        if item.name in PAIRED:
            words += [f"-{item.name[0]}", *(f"{k}={_as_typed(x)}" for k, x in value)]
        elif isinstance(value, list):
            words += [option, *value]
        else:
            words += [option] if value is True else [option, str(value)]
    return [*words, "--out", str(run.out)]


def _as_typed(value: Any) -> str:
    """Write a value so that the command line reads the same: strings bare where they stay so."""
    if not isinstance(value, str):
        return repr(value)
    with suppress(ValueError, SyntaxError):
        ast.literal_eval(value)
        return repr(value)
    return value


#: What is asked of a training, not what it is.
_REQUESTS = ("out", "resume", "overwrite")
_QUIETLY: Any = dict(capture_output=True, text=True, check=False)
_DEFAULTS = {
    f.name: f.default if f.default_factory is MISSING else f.default_factory()
    for f in fields(Run)
    if (f.default, f.default_factory) != (MISSING, MISSING)
}
_FIXED = tuple(f.name for f in fields(Run) if f.name not in (*FREE, *_REQUESTS))


def current_commit() -> str:
    """Name the commit of dreamzoo that runs, with "-dirty" where files differ; empty: not known."""
    here = Path(dreamzoo.__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    with suppress(OSError):  # there is no git
        known = subprocess.run([*git, "ls-files", "--error-unmatch", here.name], **_QUIETLY)
        if known.returncode == 0:  # else the repository around it is somebody else's
            words = [*git, "describe", "--always", "--dirty"]
            return str(subprocess.run(words, **_QUIETLY).stdout).strip()
    return ""


def describe(run: Run) -> dict[str, Any]:
    """Record what runs where: arguments, versions, machine and commit."""
    args: dict[str, Any] = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(run).items()}
    args |= {name: [(key, _to_json(x)) for key, x in args[name]] for name in PAIRED}
    return {
        "args": args,
        "commit": current_commit(),
        "versions": {"dreamzoo": dreamzoo.__version__, "torch": th.__version__},
        "machine": f"{platform.machine()}, {platform.system()}, {run.threads} threads",
    }


def note_run(run: Run) -> None:
    """Write config.json: one entry for the start and one for every time it was resumed."""
    path = run.out / CONFIG
    earlier = json.loads(path.read_text()) if run.resume else []
    with replaced_file(path, "json") as file:
        file.write((json.dumps([*earlier, describe(run)], indent=2) + "\n").encode())


def earlier_files(folder: Path) -> list[Path]:
    """List what an earlier run has left in a folder, and nothing else that lies there."""
    return sorted(path for pattern in WRITTEN for path in folder.glob(pattern))


def remove_earlier_run(folder: Path) -> None:
    """
    Remove what an earlier run has left in a folder, and nothing else that lies there.

    The list of saves goes first, so that what a removal leaves that is cut off counts as unsaved,
    and last what says whose files they are.
    """
    order = {SAVES: -1, CONFIG: 1}
    for path in sorted(earlier_files(folder), key=lambda path: order.get(path.name, 0)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def refuse_earlier_run(folder: Path) -> None:
    """
    Refuse a folder that a new run would overwrite.

    :raises ValueError: says what lies there, and what can be done
    """
    files = earlier_files(folder)
    if not files:
        return
    try:
        args = _last_args(folder)
        what = f"a run of {args['agent']} on {args['env']} to {args['steps']} steps"
    except (ValueError, KeyError):
        what = "files of an earlier run"
    go_on = "Go on with it (--resume), take" if is_saved(folder) else "Take"
    raise ValueError(
        f"{folder} holds {what} ({', '.join(path.name for path in files)}), and nothing was "
        f"begun. {go_on} another folder (--out), or remove these files and begin anew "
        "(--overwrite)."
    )


def continued(given: Mapping[str, Any]) -> Run:
    """
    Get the run that a folder holds, to go on with it.

    :param given: arguments of :class:`Run`, with ``out``; of those that are left out, and of pairs
        whose names are, counts what the run had
    :return: the run, resumed
    :raises ValueError: if there is none, or names what differs and cannot
    """
    out = Path(given["out"])
    before = _noted(out)
    asked, had = _differences(given, before)
    if asked:
        raise ValueError(
            f"The run in {out} cannot go on with {', '.join(asked)}: it has {', '.join(had)}. "
            f"Only {', '.join(FREE[:-1])} and {FREE[-1]} of a resumed run can differ; leave the "
            "rest out, or begin a run in another folder."
        )
    if not is_saved(out):
        raise ValueError(
            f"The run in {out} ended before it was saved: there is no {MODEL}. Begin it anew "
            "(--overwrite)."
        )
    rest = {k: x for k, x in given.items() if k not in PAIRED or k not in before}
    return Run(**{**before, **rest, "out": out, "resume": True, "overwrite": False})


def changes(run: Run) -> str:
    """
    Say what a run has different from the one in its folder, that cannot be changed on the way.

    :param run: as it is asked for
    :return: such as "batch_size=16 (it has batch_size=8)"; empty: nothing, or there is no other
    """
    if not (run.out / CONFIG).exists() or not is_saved(run.out):
        return ""
    before = _noted(run.out)
    asked, had = _differences(vars(run), before)
    for name in PAIRED:
        for key, value in dict(before.get(name, [])).items():
            if key not in dict(getattr(run, name)):
                asked.append(f"no {key}")
                had.append(f"{key}={value!r}")
    return ", ".join(f"{x} (it has {y})" for x, y in zip(asked, had, strict=True))


def as_begun(run: Run) -> Run:
    """
    Take a run as it lies in its folder, with what is asked for now of what can be changed.

    :param run: as it is asked for
    """
    given = {name: getattr(run, name) for name in (*FREE, "out")}
    return replace(continued(given), resume=False)


def is_saved(folder: Path) -> bool:
    """Tell whether a run's folder holds an agent from which it can go on."""
    return (newest(folder) / MODEL).exists()


def _last_args(folder: Path) -> dict[str, Any]:
    """Read with which arguments a run was begun or resumed last."""
    path = folder / CONFIG
    if not path.exists():
        raise ValueError(f"There is no run in {folder} to go on from: it has no {CONFIG}.")
    try:
        args: dict[str, Any] = json.loads(path.read_text())[-1]["args"]
        return args | {}
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{path} is not what dreamzoo train writes.") from None


def _noted(folder: Path) -> dict[str, Any]:
    """Read the arguments of the run in a folder as :class:`Run` takes them."""
    args = _last_args(folder)
    before = {name: args[name] for name in (*_FIXED, *FREE) if name in args}
    pairs = {name: before[name] for name in PAIRED if name in before}
    return before | {name: [(k, _from_json(x)) for k, x in had] for name, had in pairs.items()}


def _differences(
    given: Mapping[str, Any], before: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """
    List in words what is asked for and what a run has instead.

    Arguments that were added after it had begun have their defaults in it.
    """
    asked, had = [], []
    for name in _FIXED:
        if name not in given:
            continue
        before_it = before.get(name, _DEFAULTS.get(name, given[name]))
        if name not in PAIRED:
            if given[name] != before_it:
                asked.append(f"{name}={given[name]!r}")
                had.append(f"{name}={before_it!r}")
            continue
        known = dict(before_it)
        for key, value in dict(given[name]).items():
            if key not in known:
                asked.append(f"{key}={value!r}")
                had.append(f"no {key} among its {name}")
            elif _plain(value) != _plain(known[key]):
                asked.append(f"{key}={value!r}")
                had.append(f"{key}={known[key]!r}")
    return asked, had


def _to_json(value: Any) -> Any:
    """Write what JSON would change, such as tuples, as Python does."""
    with suppress(TypeError):
        if json.loads(json.dumps(value)) == value and _from_json(value) is value:
            return value
    return {"python": repr(value)}


def _from_json(value: Any) -> Any:
    """Read what :func:`_to_json` has written; what Python cannot read stays as it is."""
    if isinstance(value, dict) and value.keys() == {"python"}:
        with suppress(ValueError, SyntaxError):
            return ast.literal_eval(value["python"])
    return value


def _plain(value: Any) -> Any:
    """Make tuples of today equal to the lists that older versions noted."""
    return json.loads(json.dumps(value, default=repr))
