"""
Kill saves and damage files, and count what comes of it.

    python -m scripts.torture --kills 100 --damaged 1000 --seed 0

A process that saves is killed before every write, rename, fsync and removal in turn, and then at
random moments. Whatever is left has to load, be the last save or the new one bit for bit, and
train on as a run that was never cut off. Then files of every kind are cut short, flipped, zeroed,
mixed up and rewritten to promise gigabytes. Each has to be refused with a ValueError that names
it, or to be what was saved. The last lines count; whatever is not as it has to be is printed, and
the exit status is 1. A power cut, which also loses what was not fsynced, is not tried.
"""

import argparse
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo import RLLSTM, DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.environments.normalizer import NORMALIZER, load_normalizer
from dreamzoo.common.storage import container
from dreamzoo.common.storage.container import INDEX
from dreamzoo.common.storage.plain import to_json
from dreamzoo.common.storage.saves import MODEL, REPLAY, TRAINING, newest
from tests.resuming import assert_equal, everything
from tests.rewriting import members, rewrite, rewrite_json

#: Steps of the last save, of the one that is killed, and until which it is trained on.
LAST, NEW, END = 40, 60, 80
ENVIRONMENTS = "replay_buffer.environments.zip"
#: Seconds within which a damaged file has to be refused.
SOON = 10.0

Agents = dict[str, Any]


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


# ---------------------------------------------------------------------- kills


def killed(agent: Any, folder: Path, point: int, after: float) -> list[str]:
    """
    Save in a process that is killed.

    :param agent: to save
    :param folder: of the saves
    :param point: before which operation it dies; -1: at none
    :param after: seconds until it is killed from outside; 0: it is not
    :return: operations that it has made, none where it died
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        made: list[str] = []

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                if len(made) == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                made.append(call.__name__)
                return call(*args, **kwargs)

            return wrapped

        for name in ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "open"):
            setattr(os, name, counted(getattr(os, name)))
        behind: Any = container._WriteBehind
        behind.write = counted(behind.write)
        save(agent, folder)
        os.write(writing, " ".join(made).encode())
        os._exit(0)
    os.close(writing)
    if after:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read().split()


def try_kills(folder: Path, n: int, rng: random.Random) -> Counter[str]:
    """Kill saves, and take up what is left."""
    whole = train(make_agent(), LAST)
    save(whole, folder / "last")
    states = {LAST: deepcopy(everything(whole))}
    shutil.copytree(folder / "last", folder / "new")
    agent = train(load(folder / "last"), NEW)
    states[NEW] = deepcopy(everything(train(whole, NEW)))
    assert_equal(states[NEW], everything(agent))
    begun = time.monotonic()
    made = killed(agent, folder / "new", -1, 0.0)
    took = time.monotonic() - begun
    # Writes are many: every other operation comes first, then some of them, and random moments.
    points = [i for i, name in enumerate(made) if name != "write"]
    points += rng.sample(range(len(made)), len(made))
    states[END] = everything(train(whole, END))
    found: Counter[str] = Counter()
    for i in range(n):
        place = folder / f"kill{i}"
        shutil.copytree(folder / "last", place)
        by_time = i % 4 == 3
        point, after = (-1, rng.uniform(0, took)) if by_time else (points[i - (i + 1) // 4], 0.0)
        done = bool(killed(agent, place, point, after))
        try:
            again = load(place)
            at = again.num_timesteps
            assert_equal(states[at], everything(again))
            assert_equal(states[END], everything(train(again, END)))
            found[f"exact, from the {'last' if at == LAST else 'new'} save"] += 1
            if done and at != NEW:
                raise AssertionError("a save that was made is lost")
        except Exception as error:
            found["WRONG"] += 1
            print(f"WRONG: kill {i} at {point} of {len(made)}, {after:.3f} s: {error!r}")
        shutil.rmtree(place)
    print(f"a save makes {dict(Counter(made))} in {took:.2f} s")
    return found


# ---------------------------------------------------------------------- damage


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def zero(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.randrange(1, 4096)
    hole = bytes(len(data[at : at + size]))
    return data[:at] + hole + data[at + size :]


def repacked(how: str, data: bytes, rng: random.Random) -> bytes:
    """Swap, drop, add or blow up members, without an index that fits."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in parts if name != INDEX]
    one, other = rng.choice(names), rng.choice(names)
    if how == "swapped":
        parts[one], parts[other] = parts[other], parts[one]
    elif how == "missing":
        del parts[one]
    elif how == "foreign":
        parts[f"{one}.more"] = parts[one]
    else:
        parts[one] = bytes(2**30)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if how == "bomb" else 0) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()


def other_array(source: Path, target: Path, rng: random.Random) -> None:
    """Give an array of a replay another shape or dtype, with an index that fits."""
    name = rng.choice([name for name in members(source) if name.endswith(".npy")])
    array, file = np.load(io.BytesIO(members(source)[name])), io.BytesIO()
    changes = [array[:-1], array[None], array.astype(np.float64), array.astype("S3")]
    np.save(file, rng.choice(changes))
    rewrite(source, target, {name: file.getvalue()})


def promise(source: Path, target: Path, rng: random.Random) -> None:
    """Let a file's JSON promise gigabytes, with an index that fits."""
    name, keys = {
        MODEL: ("data", ["buffer_size", "n_envs"]),
        REPLAY: ("replay.json", ["capacity", "n_envs"]),
    }[source.name]
    key, size = rng.choice(keys), 10 ** rng.randrange(12, 17)
    rewrite_json(source, target, name, lambda said: said.__setitem__(key, size))


RAW: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": cut,
    "flipped": flip,
    "zeroed": zero,
    **{how: partial(repacked, how) for how in ("swapped", "missing", "foreign", "bomb")},
}
FITTING: dict[str, tuple[list[str], Callable[[Path, Path, random.Random], None]]] = {
    "other arrays": ([REPLAY], other_array),
    "promises": ([MODEL, REPLAY], promise),
}


def loaders(folder: Path) -> dict[str, Callable[[Path], Any]]:
    """Load a file of every kind from a folder, and return what has to be as it was."""
    agent = load(folder)
    small = RLLSTM.load(folder / "small.zip", env=make_vec_env("CartPole-v1"), device="cpu")

    def replay(path: Path) -> Any:
        agent.load_replay_buffer(path / REPLAY, trusted=True)
        return everything(agent)

    def training(path: Path) -> Any:
        small.load_training_state(path / TRAINING, trusted=True)
        return to_json(small._training_state())

    def statistics(path: Path) -> Any:
        loaded = load_normalizer(path / MODEL)
        assert loaded is not None
        return [repr(vars(loaded.obs_rms)), repr(vars(loaded.ret_rms))]

    return {
        MODEL: lambda path: DreamerV3.load(path / MODEL, device="cpu").get_parameters(),
        REPLAY: replay,
        ENVIRONMENTS: replay,
        TRAINING: training,
        NORMALIZER: statistics,
    }


def try_damage(folder: Path, n: int, rng: random.Random) -> Counter[str]:
    """Damage files, and load them."""
    last = newest(folder / "last")
    small = RLLSTM("MlpPolicy", "CartPole-v1", **RLLSTM.smallest).learn(20)
    small.save(last / "small.zip")
    small.save_training_state(last / TRAINING)
    kinds = loaders(last)
    whole = {name: deepcopy(kind(last)) for name, kind in kinds.items()}
    found: Counter[str] = Counter()
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(n):
        how = rng.choice([*RAW, *FITTING])
        name = rng.choice(FITTING[how][0] if how in FITTING else list(kinds))
        place = folder / "damaged"
        shutil.copytree(last, place)
        if how in FITTING:
            FITTING[how][1](last / name, place / name, rng)
        else:
            (place / name).write_bytes(RAW[how]((last / name).read_bytes(), rng))
        begun = time.monotonic()
        try:
            assert_equal(whole[name], kinds[name](place))
            found["identical"] += 1
        except ValueError as error:
            named = name in str(error)
            found["refused" if named else "WRONG"] += 1
            if not named:
                print(f"WRONG: file {i}, {name} {how}: the error names another: {error}")
        except Exception as error:
            found["WRONG"] += 1
            print(f"WRONG: file {i}, {name} {how}: {error!r}"[:400])
        took = time.monotonic() - begun
        slowest = max(slowest, took)
        if took > SOON:
            found["too slow"] += 1
        shutil.rmtree(place)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"the slowest took {slowest:.2f} s; peak memory grew by {grown / 1000:.0f} MB")
    return found


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--damaged", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    warnings.simplefilter("ignore")
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        kills = try_kills(Path(folder), args.kills, rng)
        damage = try_damage(Path(folder), args.damaged, rng)
    print(f"{args.kills} kills: {dict(kills)}")
    print(f"{args.damaged} damaged files: {dict(damage)}")
    sys.exit(int(bool(kills["WRONG"] + damage["WRONG"] + damage["too slow"])))


if __name__ == "__main__":
    main()
