"""
Kill saves and damage files, and count what comes of it.

    python -m scripts.torture --kills 100 --damaged 125 --folder torture

A process that saves is killed before every write, rename, fsync and removal in turn, and at random
moments; then once more before each of them by a power cut, which also takes what was written but
not fsynced. Whatever is left has to load, be the last save or the new one bit for bit, and train on
as a run that was never cut off.

Then so many files of every kind are cut short, flipped, zeroed, mixed up, or forged with an index
that fits: to hold other arrays and values, or to unpack to gigabytes. Each has to be refused with a
ValueError that names it, or to be what was saved. A forged one may also be a sound file of
something else. None may take long, or more memory than its size justifies.

The last lines count; whatever is not as it has to be is printed, and the exit status is 1. The same
command with the same folder goes on where it was stopped, and with more damaged files it adds them.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo import RLLSTM, DiscreteSAC, DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.environments.normalizer import NORMALIZER, load_normalizer
from dreamzoo.common.storage import container
from dreamzoo.common.storage.plain import to_json
from dreamzoo.common.storage.saves import MODEL, REPLAY, SAVES, TRAINING, newest
from tests.damaging import FORGED, GIGABYTES, MAY_BE_SOUND, OF_ANY_FILE, RAW, zeros
from tests.resuming import assert_equal, everything
from tests.rewriting import members

#: Steps of the last save, of the one that is killed, and until which it is trained on.
LAST, NEW, END = 40, 48, 56
ENVIRONMENTS, POLICY = "replay_buffer.environments.zip", "policy.zip"
SMALL, SAC, TRANSITIONS = "small.zip", "sac.zip", "transitions.npz"
#: Seconds of CPU within which a damaged file has to be refused, and of any kind after which a
#: trial is given up.
SOON, PATIENCE = 2.0, 300.0
#: Bytes that loading may take beside eight times the size of the file, and that a trial may have.
ROOM, LIMIT = 2**27, 2**32
#: Bytes that are written at a time, few of them so that there are many writes to die before.
PIECE = 2**12


def make_env() -> VecEnv:
    """Make what the agents are trained in."""
    return VecNormalize(make_vec_env("CartPole-v1", n_envs=2, seed=0))


def make_agent() -> DreamerV3:
    """Make the agent that is saved; it updates between the saves."""
    small: Any = dict(policy_kwargs=dict(size="debug"), batch_size=2, batch_length=4)
    settings: Any = dict(buffer_size=200, learning_starts=16, train_ratio=4, seed=0, device="cpu")
    return DreamerV3("MlpPolicy", make_env(), **small, **settings)


def train(agent: Any, until: int) -> Any:
    """Go on until so many steps."""
    return agent.learn(until - agent.num_timesteps, reset_num_timesteps=False)


def save(agent: Any, folder: Path) -> None:
    """Save as a training does."""
    folder.mkdir(exist_ok=True)
    callback = SaveCallback(folder, every=1)
    callback.model = agent
    callback.save()


def load(folder: Path) -> Any:
    """Take up the training of a folder."""
    agent = DreamerV3.load(folder, env=normalized(folder), device="cpu", trusted=True)
    agent.resume(folder, trusted=True)
    return agent


def normalized(folder: Path) -> VecEnv:
    """Make the environment with the statistics of a folder."""
    env = make_env()
    statistics = load_normalizer(folder, training=True)
    assert statistics is not None
    statistics.set_venv(env.venv)  # type: ignore[attr-defined]
    return statistics


# ---------------------------------------------------------------------- trials


class Trial(NamedTuple):
    """
    What came of one trial.

    :param found: in a word or two; begins with WRONG if it should not be
    :param what: was tried
    :param seconds: of CPU that it took
    :param taken: bytes of memory that it took at its peak
    """

    found: str
    what: str
    seconds: float = 0.0
    taken: int = 0


def try_all(trials: Sequence[Callable[[], Trial]], results: Path) -> list[Trial]:
    """
    Make trials in processes of their own, which may hang, die and eat memory.

    :param trials: what to try
    :param results: file that keeps what came of those that were made, one line each
    """
    while len(made := _read(results)) < len(trials):
        if not (child := os.fork()):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, used + LIMIT))
            for trial in trials[len(made) :]:
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)  # nobody handles it: the end
                _note(results, trial())
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        after = _read(results)
        if status and len(after) < len(trials):
            _note(results, Trial("WRONG: the process died", f"trial {len(after)}: {status}"))
    return made


def _read(results: Path) -> list[Trial]:
    lines = results.read_text().splitlines() if results.exists() else []
    return [Trial(*json.loads(line)) for line in lines]


def _note(results: Path, trial: Trial) -> None:
    with results.open("a") as file:
        file.write(json.dumps(trial) + "\n")
    if trial.found.startswith("WRONG"):
        print(f"{trial.found}: {trial.what}", flush=True)


def peak(reset: bool = False) -> int:
    """Read the most memory that the process has taken since it was reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# ---------------------------------------------------------------------- kills


class Saver:
    """
    Saves in processes that are killed.

    :param agent: to save
    """

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def save(self, folder: Path, point: int = -1, after: float = 0.0) -> list[str]:
        """
        Save and be killed.

        :param folder: of the saves
        :param point: before which operation the process dies; -1: at none
        :param after: seconds until it is killed from outside; 0: it is not
        :return: what it has done: names of operations, behind that of an fsync the number of the
            file and the size that is safe, and ``done`` at the end
        """
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            self._count(writing, point)
            save(self.agent, folder)
            os.write(writing, b"done\n")
            os._exit(0)
        os.close(writing)
        if after:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reading) as pipe:
            said = pipe.read().splitlines()
        os.waitpid(child, 0)
        return said

    @staticmethod
    def _count(pipe: int, point: int) -> None:
        """Count the operations on files, tell them, and die before one of them."""
        made = 0

        def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal made
                if made == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                made += 1
                result = call(*args, **kwargs)
                about = os.fstat(args[0]) if name == "fsync" else None
                safe = f" {about.st_ino} {about.st_size}" if about else ""
                os.write(pipe, f"{name}{safe}\n".encode())
                return result

            return wrapped

        for name in ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "open"):
            setattr(os, name, counted(name, getattr(os, name)))
        behind: Any = container._WriteBehind
        behind._submit = counted("write", behind._submit)
        container._SMALL = PIECE


def cut_power(folder: Path, before: set[int], said: list[str], rng: random.Random) -> None:
    """
    Take from new files of a folder what was not fsynced, or some of it.

    Names are as they were: file systems with a journal keep their order.

    :param folder: of the saves
    :param before: numbers of files that were there before the save
    :param said: what the save did
    :param rng: says how much is lost
    """
    safe = {int(line.split()[1]): int(line.split()[2]) for line in said if " " in line}
    for path in folder.rglob("*"):
        about = path.stat()
        if path.is_file() and about.st_ino not in before:
            least = safe.get(about.st_ino, 0)
            os.truncate(path, rng.randint(min(least, about.st_size), about.st_size))


def try_kills(folder: Path, n: int, operations: int | None, seed: int) -> list[Trial]:
    """
    Kill saves, and take up what is left.

    :param folder: to work in
    :param n: kills at random moments
    :param operations: how many of the operations of a save are tried; None: all
    :param seed: of the moments
    """
    whole = train(make_agent(), LAST)
    if not (folder / "last").exists():
        save(whole, folder / "saved")
        (folder / "saved").rename(folder / "last")
    states = {LAST: deepcopy(everything(whole))}
    agent = train(load(folder / "last"), NEW)
    states[NEW] = deepcopy(everything(train(whole, NEW)))
    assert_equal(states[NEW], everything(agent))
    states[END] = deepcopy(everything(train(whole, END)))
    saver = Saver(agent)

    def copied(name: str) -> Path:
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(folder / "last", place))

    begun = time.monotonic()
    made = [line.split()[0] for line in saver.save(copied("whole"))][:-1]
    took = time.monotonic() - begun
    print(f"a save makes {dict(Counter(made))} in {took:.2f} s", flush=True)

    def kill(point: int, by_power: bool, after: float) -> Trial:
        place = copied("killed")
        before = {path.stat().st_ino for path in place.rglob("*")}
        said = saver.save(place, point, after)
        if by_power:
            cut_power(place, before, said, random.Random(f"{seed}/{point}"))
        what = f"before {made[point]} {point}" if point >= 0 else f"after {after:.4f} s"
        what += " by a power cut" * by_power
        try:
            again = load(place)
            at = again.num_timesteps
            assert_equal(states[at], everything(again))
            assert_equal(states[END], everything(train(again, END)))
            if said[-1:] == ["done"] and at != NEW:
                return Trial("WRONG: a save that was made is lost", what)
        except Exception as error:
            return Trial("WRONG: not resumed exactly", f"{what}: {error!r}")
        return Trial(f"exact, from the {'last' if at == LAST else 'new'} save", what)

    rng = random.Random(seed)
    moments = [rng.uniform(0, took) for _ in range(n)]
    trials = [partial(kill, -1, False, moment) for moment in moments]
    points = sorted(range(len(made)), key=lambda i: made[i] == "write")[:operations]
    for by_power in (False, True):
        trials += [partial(kill, point, by_power, 0.0) for point in points]
    return try_all(trials, folder / "kills.jsonl")


# ---------------------------------------------------------------------- damage


def loaders(folder: Path) -> dict[str, Callable[[Path], Any]]:
    """
    Load a file of every kind, and return what has to be as it was.

    :param folder: of saves; those that are loaded are in folders alike
    """
    last, env = newest(folder), make_vec_env("CartPole-v1", seed=0)

    def model(path: Path) -> Any:
        return DreamerV3.load(newest(path) / MODEL, device="cpu").get_parameters()

    def replay(path: Path) -> Any:
        agent = load(folder)
        with unchanged(lambda: everything(agent)):
            agent.load_replay_buffer(newest(path) / REPLAY, trusted=True)
        return everything(agent) if agent._last_obs is not None else None

    def transitions(path: Path) -> Any:
        agent = DiscreteSAC.load(last / SAC, env=env, device="cpu")
        agent.load_replay_buffer(last / TRANSITIONS)

        def stored() -> Any:
            known = vars(agent.replay_buffer).items()
            return {k: th.as_tensor(x) for k, x in known if isinstance(x, np.ndarray | int)}

        with unchanged(stored):
            agent.load_replay_buffer(newest(path) / TRANSITIONS)
        return stored()

    def training(path: Path) -> Any:
        agent = RLLSTM.load(last / SMALL, env=env, device="cpu")
        agent.load_training_state(last / TRAINING, trusted=True)
        with unchanged(lambda: to_json(agent._training_state())):
            agent.load_training_state(newest(path) / TRAINING, trusted=True)
        return to_json(agent._training_state())

    def statistics(path: Path) -> Any:
        loaded = load_normalizer(newest(path) / MODEL)
        assert loaded is not None
        return [repr(vars(loaded.obs_rms)), repr(vars(loaded.ret_rms))]

    policy = type(load(folder).policy)
    return {
        MODEL: model,
        REPLAY: replay,
        ENVIRONMENTS: replay,
        TRANSITIONS: transitions,
        TRAINING: training,
        NORMALIZER: statistics,
        POLICY: lambda path: policy.load(newest(path) / POLICY, device="cpu").state_dict(),
        SAVES: lambda path: DreamerV3.load(path, device="cpu").get_parameters(),
    }


@contextmanager
def unchanged(state: Callable[[], Any]) -> Iterator[None]:
    """Compare the state of an agent before and after what it has refused to load."""
    before = deepcopy(state())
    try:
        yield
    except ValueError as error:
        try:
            assert_equal(before, state())
        except AssertionError:
            raise RuntimeError("the agent is not as it was") from error
        raise


def ways_of(path: Path) -> list[str]:
    """List how a file can be damaged."""
    if path.name == SAVES:
        return [*OF_ANY_FILE]
    names = members(path)
    fits = [how for how, (end, _) in FORGED.items() if any(name.endswith(end) for name in names)]
    return [*RAW, *(fits if path.name != ENVIRONMENTS else ["bomb", "overlapping"])]


def try_damage(folder: Path, n: int, seed: int) -> list[Trial]:
    """
    Damage files, and load them.

    :param folder: with the saves that :func:`try_kills` has made
    :param n: files of every kind
    :param seed: of the damage
    """
    whole, place = folder / "last", folder / "damaged"
    last = newest(whole)
    if not (last / POLICY).exists():
        small = RLLSTM("MlpPolicy", "CartPole-v1", **RLLSTM.smallest).learn(20)
        small.save(last / SMALL)
        small.save_training_state(last / TRAINING)
        sac = DiscreteSAC("MlpPolicy", "CartPole-v1", **DiscreteSAC.smallest).learn(40)
        sac.save(last / SAC)
        sac.save_replay_buffer(last / TRANSITIONS)
        load(whole).policy.save(last / POLICY)
    kinds = loaders(whole)
    expected = {name: deepcopy(kind(whole)) for name, kind in kinds.items()}
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)

    def damage(name: str, i: int) -> Trial:
        source = whole / name if name == SAVES else last / name
        target = place / source.relative_to(whole)
        ways = ways_of(source)
        how, rng = ways[i % len(ways)], random.Random(f"{seed}/{name}/{i}")
        if how in RAW:
            target.write_bytes(RAW[how](source.read_bytes(), rng))
        else:
            FORGED[how][1](source, target, rng)
        size, what = target.stat().st_size, f"{name} {i}, {how}"
        peak(reset=True)
        before, begun = peak(), time.process_time()
        try:
            found = outcome(lambda: kinds[name](place), expected[name], how, name)
        except Exception as error:
            found, what = "WRONG: another error", f"{what}: {error!r}"[:400]
        took, taken = time.process_time() - begun, peak() - before
        if found.startswith("WRONG: "):
            pass
        elif took > SOON:
            found = "WRONG: too slow"
        elif taken > 8 * size + ROOM:
            found = f"WRONG: took {taken / 1e6:.0f} MB for {size / 1e6:.2f} MB"
        shutil.copy2(source, target)
        return Trial(found, what, took, taken)

    zeros(GIGABYTES)  # once, not in every process
    trials = [partial(damage, name, i) for i in range(n) for name in kinds]
    return try_all(trials, folder / "damage.jsonl")


def outcome(load: Callable[[], Any], expected: Any, how: str, name: str) -> str:
    """
    Say what came of loading a damaged file.

    :param load: loads it
    :param expected: of the undamaged one
    :param how: it was damaged
    :param name: of the file
    """
    try:
        loaded = load()
    except ValueError as error:
        return "refused" if name in str(error) else f"WRONG: names no file: {error}"
    try:
        assert_equal(expected, loaded)
    except (AssertionError, TypeError):  # one that cannot even be compared
        return "sound" if how in MAY_BE_SOUND else "WRONG: loaded as something else"
    return "identical"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="at random moments")
    parser.add_argument("--operations", type=int, help="of a save that are tried; default: all")
    parser.add_argument("--damaged", type=int, default=125, help="files of every kind")
    parser.add_argument("--folder", type=Path, help="to work in, and to go on in")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    warnings.simplefilter("ignore")
    th.set_num_threads(1)  # processes that are forked have no other threads
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        kills = try_kills(folder, args.kills, args.operations, args.seed)
        damage = try_damage(folder, args.damaged, args.seed)
    slowest, most = (max((getattr(t, k) for t in damage), default=0) for k in ("seconds", "taken"))
    print(f"damaged files took up to {slowest:.2f} s of CPU and {most / 1e6:.0f} MB")
    print(f"{len(kills)} kills: {dict(Counter(trial.found for trial in kills))}")
    print(f"{len(damage)} damaged files: {dict(Counter(trial.found for trial in damage))}")
    sys.exit(int(any(trial.found.startswith("WRONG") for trial in [*kills, *damage])))


if __name__ == "__main__":
    main()
