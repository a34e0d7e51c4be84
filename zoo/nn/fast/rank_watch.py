"""Ranks that look after each other: one that dies or raises stops the others, and is named."""

import _thread
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

import torch.distributed as dist

#: Seconds between two signs of life.
BEAT = 1.0
#: Seconds without one after which a rank counts as dead.
SILENCE = 15.0
#: The same once a connection to some rank is broken: the others are heard of within two beats.
SILENCE_AFTER_LOSS = 4.0
#: Seconds after which a rank that has not noticed is interrupted, and then ended.
NOTICE, END = 2.0, 8.0


class RankError(RuntimeError):
    """
    Another rank has stopped, so this one cannot go on.

    Example:
        >>> from dreamzoo.nn.fast.rank_watch import RankError
        >>> issubclass(RankError, RuntimeError)
        True
    """


class RankWatch:
    """
    Signs of life of all ranks, in the store through which they have found each other.

    A thread gives and reads them. Where one is missing, or a rank has said that it fails, the main
    thread finds out at its next collective operation, else by an interrupt; a process that does
    not react, because it waits for a device that waits for a dead rank, is ended.

    :param store: shared by all ranks
    :param index: of this rank
    :param count: of ranks
    """

    def __init__(self, store: Any, index: int, count: int) -> None:
        self.index, self.count = index, count
        self.failure: str | None = None
        self.interrupted = False
        self._store = store
        self._over = threading.Event()
        self._learner = threading.get_ident()
        name = f"rank {index} of {count} (process {os.getpid()} on {socket.gethostname()})"
        store.set(f"name/{index}", name)
        self._name = name
        self._lost = False  # a connection
        self._thread = threading.Thread(target=self._run, name="rank watch", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """
        Stop if another rank has stopped.

        :raises RankError: names it
        """
        if self.failure is not None:
            raise RankError(self.failure)

    def lost(self, error: Exception) -> NoReturn:
        """
        Find out which rank it was that broke a connection.

        :param error: what the connection says
        :raises RankError: names the rank
        """
        self._lost = True
        end = time.monotonic() + SILENCE
        while self.failure is None and time.monotonic() < end:
            time.sleep(0.1)
        self.check()
        raise RankError(f"The connection to another rank is broken: {error}") from error

    def end(self, error: BaseException | None) -> None:
        """
        Leave the others in peace, or tell them what has happened here.

        :param error: why this rank stops; None: it is done
        """
        self._over.set()
        self._thread.join(END)
        own = error is not None and self.failure is None
        try:
            if own:
                self._tell(f"{self._name} stopped: {type(error).__name__}: {error}")
            self._store.set(f"done/{self.index}", "1")
        except RuntimeError:  # whoever kept the store is gone, and with it whoever would read this
            return
        if own and keeps_store(self.index):
            time.sleep(2 * BEAT)  # they hear of it before the store goes with this process

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        heard = {other: (b"", time.monotonic()) for other in range(self.count)}
        beats = 0
        while not self._over.wait(BEAT) and self.failure is None:
            beats += 1
            try:
                self._store.set(f"beat/{self.index}", str(beats))
                self.failure = self._look(heard)
            except RuntimeError as error:
                keeper = "rank 0" if keeps_store(0) else "torchrun"
                self.failure = _all_stop(f"{keeper}, which kept the ranks' store, is gone: {error}")
        if self.failure is None:
            return
        if not self._over.wait(NOTICE) and self._learner == threading.main_thread().ident:
            self.interrupted = True
            if hasattr(signal, "pthread_kill"):  # also ends what the system lets it wait for
                signal.pthread_kill(self._learner, signal.SIGINT)
            else:
                _thread.interrupt_main()
        if not self._over.wait(END):
            print(f"RankError: {self.failure}", file=sys.stderr, flush=True)
            os._exit(1)

    def _look(self, heard: dict[int, tuple[bytes, float]]) -> str | None:
        """Return what has happened to another rank, if anything has."""
        if self._store.check(["failure"]):
            return str(self._store.get("failure").decode())
        now, silence = time.monotonic(), SILENCE_AFTER_LOSS if self._lost else SILENCE
        for other, (last, since) in heard.items():
            if other == self.index or self._store.check([f"done/{other}"]):
                continue
            key, name = f"beat/{other}", f"rank {other} of {self.count}"
            beat = self._store.get(key) if self._store.check([key]) else b""
            has_begun = self._store.check([f"name/{other}"])  # else asking for it would wait
            if beat != last or not (has_begun or self._lost):
                # What a rank does before it begins, as an evaluation, takes as long as it takes.
                heard[other] = beat, now
            elif now - since > silence:
                if has_begun:
                    name = self._store.get(f"name/{other}").decode()
                return self._tell(
                    f"{name} has given no sign of life for {now - since:.0f} seconds: it was "
                    "killed, or its machine or network is gone"
                )
        return None

    def _tell(self, what: str) -> str:
        """Tell all ranks why training stops; the first reason counts."""
        said: bytes = self._store.compare_set("failure", "", _all_stop(what))
        return said.decode()


def _all_stop(why: str) -> str:
    return f"Training stops on all ranks, since {why}. The last save is whole."


def keeps_store(index: int) -> bool:
    """
    Return whether a rank's process keeps the store, which torchrun does by itself.

    :param index: of the rank
    """
    return index == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def watch_ranks(session: int, index: int, count: int) -> RankWatch:
    """
    Begin to watch.

    :param session: number of times that was done before, the same on all ranks
    :param index: of this rank
    :param count: of ranks
    """
    store = dist.distributed_c10d._get_default_store()
    return RankWatch(dist.PrefixStore(f"dreamzoo/{session}", store), index, count)
