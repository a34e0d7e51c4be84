"""Environments in processes of their own, one of which has died."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection
from typing import Any

from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

#: Seconds to wait until a worker is known to be dead, and until the others have closed theirs.
PATIENCE = 2.0


@contextmanager
def dead_workers_named(env: VecEnv | None) -> Iterator[None]:
    """
    Turn the broken pipe to a dead worker into an error that names it, and close the environment.

    :param env: training environment; ``SubprocVecEnv``, or gymnasium's ``AsyncVectorEnv`` inside
    :raises RuntimeError: if a worker has died; other errors pass unchanged
    """
    try:
        yield
    except (EOFError, OSError) as error:
        vec: Any = None if env is None else env.unwrapped
        owner = vec if hasattr(vec, "processes") else getattr(vec, "env", None)
        owner = getattr(owner, "unwrapped", owner)
        processes = getattr(owner, "processes", [])
        if getattr(owner, "closed", False):
            raise RuntimeError(
                f"The {type(owner).__name__} is closed. Go on with model.set_env(new_env)."
            ) from error
        dead = _wait_for_dead(processes)
        if not dead:
            raise
        message = _describe(dead, processes, type(owner).__name__)
        _close(owner)
        raise RuntimeError(message) from error


class _Remote:
    """
    A pipe to a worker, that notices when the worker is dead.

    Of the workers of a ``SubprocVecEnv`` that are forked every one holds the ends of all others
    open: reading from a dead one's would wait for ever.
    """

    def __init__(self, remote: Any, process: Any) -> None:
        self._remote, self._process = remote, process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._remote, name)

    def recv(self) -> Any:
        if self._remote not in connection.wait([self._remote, self._process.sentinel]):
            raise EOFError("the worker is dead")
        return self._remote.recv()


def notice_dead_workers(env: VecEnv) -> None:
    """
    Let an environment raise, instead of waiting for ever, if one of its workers dies.

    :param env: training environment
    """
    vec: Any = env.unwrapped
    if isinstance(vec, SubprocVecEnv) and not isinstance(vec.remotes[0], _Remote):
        pairs = zip(vec.remotes, vec.processes, strict=True)
        vec.remotes = tuple(_Remote(remote, process) for remote, process in pairs)


def _wait_for_dead(processes: list[Any]) -> list[int]:
    sentinels = {process.sentinel: process for process in processes}
    for sentinel in connection.wait(list(sentinels), PATIENCE) if processes else ():
        sentinels[sentinel].join(PATIENCE)  # its files are closed a moment before it is gone
    return [i for i, process in enumerate(processes) if not process.is_alive()]


def _describe(dead: list[int], processes: list[Any], kind: str) -> str:
    reasons = []
    for i in dead:
        code = processes[i].exitcode
        killed = code is not None and code < 0
        reason = f"killed by {signal.Signals(-code).name}" if killed else f"exit code {code}"
        reasons.append(f"worker {i} of {len(processes)} ({reason})")
    return (
        f"{kind}: {', '.join(reasons)} died. What it raised itself is printed above; SIGKILL "
        "mostly means that the machine ran out of memory. Nothing of this step was stored, the "
        "environment is closed and the agent as it was: save it, or go on with "
        "model.set_env(new_env) and model.learn(..., reset_num_timesteps=False)."
    )


def _close(owner: Any) -> None:
    """
    End the workers that are left, as ``close`` would without the dead one.

    They may hold a step that nobody has fetched, and wait until someone does.
    """
    pipes = getattr(owner, "remotes", None) or getattr(owner, "parent_pipes", [])
    for pipe in pipes:
        with suppress(OSError):
            pipe.send(("close", None))
    end = time.monotonic() + PATIENCE
    while any(process.is_alive() for process in owner.processes) and time.monotonic() < end:
        ready: list[Any] = connection.wait([pipe for pipe in pipes if not pipe.closed], 0.05)
        for pipe in ready:
            try:
                pipe.recv()
            except (EOFError, OSError):
                pipe.close()
    for process in owner.processes:
        process.kill()
        process.join()
    for pipe in pipes:
        pipe.close()
    owner.closed = True
