"""Workers of a cluster, as the learner knows them: started, asked, and replaced when they die."""

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from math import inf
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium import spaces

from dreamzoo.envs.remote import worker as worker_module
from dreamzoo.envs.remote.cluster import connect
from dreamzoo.envs.remote.worker import Worker, refuse_other_spaces

#: Steps after which a worker that dies is no longer taken for one that cannot work at all.
SETTLED = 100
#: Seconds that environments have to close.
CLOSING = 5.0
#: Seconds until Ray knows at the latest that the CPU of a dead worker is free.
FREED = 1.0


class Options(NamedTuple):
    """
    How workers are treated.

    :param start_timeout: seconds until a worker must have made its environments
    :param timeout: seconds until a worker must have answered; None: any time
    :param max_restarts: of one worker, in a row
    :param restart_on_error: also replace workers whose environments raise
    :param resources: what Ray shall reserve for a worker, and where; without ``num_cpus``: a CPU
        each, if there are as many when workers are started
    """

    start_timeout: float
    timeout: float | None
    max_restarts: int
    restart_on_error: bool
    resources: Mapping[str, Any]


class Spaces(NamedTuple):
    """
    Spaces of all environments.

    :param observation_space: of one
    :param action_space: of one
    """

    observation_space: spaces.Space
    action_space: spaces.Space


class Member:
    """
    One worker.

    :param index: its number
    :param rows: of its environments
    """

    def __init__(self, index: int, rows: range) -> None:
        self.index, self.rows = index, rows
        self.place = "not started"
        self.restarts = 0
        self.num_cpus = 0.0
        self.begin(None)

    def begin(self, actor: Any) -> None:
        """
        Forget the last process.

        :param actor: in a new one
        """
        self.actor, self.steps = actor, 0
        #: What it may not have done yet, in the order in which it was asked for.
        self._ahead: list[Any] = []
        #: Answers that nobody waits for, but that may be errors.
        self._unheard: list[Any] = []

    def send(self, method: str, args: Sequence[Any], is_told: bool) -> Any:
        """
        Ask for something.

        :param method: of :class:`Worker`
        :param args: of the method
        :param is_told: whether nobody will wait for the answer
        :return: stands for the answer
        """
        ref = getattr(self.actor, method).remote(*args)
        self._ahead.append(ref)
        if is_told:
            self._unheard.append(ref)
        return ref

    def reach(self, ref: Any) -> int:
        """
        Count what comes before something, all of which is done once that is.

        :param ref: what :meth:`send` returned
        :return: as far as it was not counted before
        """
        if ref not in self._ahead:
            return 0
        before = self._ahead.index(ref)
        del self._ahead[: before + 1]
        return before

    def hear(self) -> list[Any]:
        """Take the answers that nobody waits for, as far as they were reached."""
        heard = [ref for ref in self._unheard if ref not in self._ahead]
        self._unheard = [ref for ref in self._unheard if ref in self._ahead]
        return heard

    def __str__(self) -> str:
        last = self.rows[-1]
        which = f"s {self.rows[0]} to {last}" if len(self.rows) > 1 else f" {last}"
        return f"worker {self.index} (environment{which}; {self.place})"


class Fleet:
    """
    All workers of one set of environments.

    :param makers: one function for every environment, that makes it
    :param sizes: environments of every worker
    :param address: of the cluster, see :func:`connect`
    :param options: how workers are treated
    :raises ValueError: if a function cannot be sent, or spaces differ
    :raises RuntimeError: if a worker cannot be started
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gym.Env]],
        sizes: Sequence[int],
        address: str | None,
        options: Options,
    ) -> None:
        self._ray = connect(address)
        self._options = options
        firsts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self.members = [Member(i, range(*ends)) for i, ends in enumerate(pairwise(firsts))]
        self._makers = [[makers[row] for row in member.rows] for member in self.members]
        self._refuse_unsendable(makers)
        # By value: workers start sooner, and take less memory, without torch and SB3.
        self._ray.cloudpickle.register_pickle_by_value(worker_module)
        self._class = self._ray.remote(Worker)
        self._is_over = False
        self.spaces: Spaces | None = None
        try:
            if lost := self._start(self.members):
                index, reason = next(iter(lost.items()))
                raise RuntimeError(f"{self.members[index]} could not be started: {reason}")
        except RemoteError as error:
            self.kill()
            raise error.cause from error
        except BaseException:
            self.kill()
            raise

    # ------------------------------------------------------------------ asking

    def send(self, index: int, method: str, *args: Any) -> Any:
        """
        Ask one worker to do something, and go on.

        :param index: of the worker
        :param method: of :class:`Worker`
        :param args: of the method
        :return: for :meth:`receive`
        :raises RuntimeError: if all workers have been ended
        """
        return self._send(index, method, args)

    def tell(self, index: int, method: str, *args: Any) -> None:
        """
        Let one worker do something that returns nothing.

        Should it fail, that is said with the worker's next step or reset.

        :param index: of the worker
        :param method: of :class:`Worker`
        :param args: of the method
        :raises RuntimeError: if all workers have been ended
        """
        self._send(index, method, args, is_told=True)

    def _send(self, index: int, method: str, args: Sequence[Any], is_told: bool = False) -> Any:
        if self._is_over:  # a dead worker would be started again, and nobody would end it
            raise RuntimeError(
                "This RemoteVecEnv is closed, and its workers have ended: make a new one."
            )
        return self.members[index].send(method, args, is_told)

    def share(self, value: Any) -> Any:
        """
        Make something available to all workers, sent to each machine once.

        :param value: anything that can be pickled
        :return: stands for it among the arguments of :meth:`send`
        """
        return self._ray.put(value)

    def receive(
        self, asked: Mapping[int, Any], in_play: bool = True, limit: float | None = None
    ) -> tuple[dict[int, Any], dict[int, str]]:
        """
        Wait for answers.

        A worker has as long for each thing that it was asked for before, and may not have done yet.

        :param asked: what :meth:`send` returned, by worker
        :param in_play: whether a worker that raises may be replaced, and what it was told is heard:
            not for asking what it lacks
        :param limit: seconds that workers have to answer; None: those of all answers
        :return: answers by worker, and why there is none, of workers that are lost
        :raises RuntimeError: if an environment raised, and its worker shall not be replaced; if a
            worker could not do what it was told
        """
        limit = self._options.timeout if limit is None else limit
        ends, told, now = dict[int, float](), dict[int, list[Any]](), time.monotonic()
        for index, ref in asked.items():
            member = self.members[index]
            ends[index] = now + (inf if limit is None else limit) * (1 + member.reach(ref))
            told[index] = member.hear() if in_play else []
        refs = [*chain.from_iterable(told.values()), *asked.values()]
        try:  # of all at once; where one fails, it is found below
            found = self._ray.get(refs, timeout=_left(max(ends.values(), default=inf)))
            return dict(zip(asked, found[len(refs) - len(asked) :], strict=True)), {}
        except self._ray.exceptions.RayError:
            pass
        answers, lost = {}, {}
        for index, ref in asked.items():
            try:
                for before in told[index]:
                    self._get(index, before, _left(ends[index]), in_play=False)
                answers[index] = self._get(index, ref, _left(ends[index]), in_play)
            except Lost as error:
                lost[index] = str(error)
        return answers, lost

    def ask(self, method: str, given: Mapping[int, Sequence[Any]]) -> tuple[dict, dict[int, str]]:
        """
        Ask workers to do something, and wait for it.

        :param method: of :class:`Worker`
        :param given: arguments by worker
        :return: see :meth:`receive`
        """
        asked = {i: self.send(i, method, *args) for i, args in given.items()}
        # A copy of an agent is taken by a process that has to import it first.
        limit = self._options.start_timeout if method == "take" else None
        return self.receive(asked, method == "reset", limit)

    def _get(self, index: int, ref: Any, seconds: float | None, in_play: bool = True) -> Any:
        """
        Wait for one answer.

        :param in_play: see :meth:`receive`
        :raises Lost: if the worker is lost
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref, timeout=seconds)
        except errors.GetTimeoutError:
            raise Lost("it did not answer in time") from None
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None) or error
            if self._options.restart_on_error and in_play:
                raise Lost(f"it raised {cause!r}") from None
            raise RemoteError(f"{self.members[index]} raised {cause!r}", cause) from error
        except errors.RayError as error:  # many, with no common base of their own
            raise Lost(_reason(error)) from None

    # ------------------------------------------------------------------ starting and ending

    def replace(self, lost: Mapping[int, str]) -> None:
        """
        Start workers anew, with environments that were not reset.

        :param lost: why, by worker
        :raises RuntimeError: if one of them has died too often in a row
        """
        while lost:
            for index, reason in lost.items():
                self._bury(self.members[index], reason)
            lost = self._start([self.members[index] for index in lost])

    def _bury(self, member: Member, reason: str) -> None:
        if member.steps >= SETTLED:
            member.restarts = 0
        self._ray.kill(member.actor)
        most = self._options.max_restarts
        if member.restarts >= most:
            raise RuntimeError(
                f"{member} was lost {member.restarts + 1} times in a row, each time within "
                f"{SETTLED} steps; the last time: {reason}. Look whether make_env() and the "
                f"environment work on that machine; max_restarts={most} says how often a worker "
                "is started again."
            )
        member.restarts += 1
        warnings.warn(
            f"{member} was lost: {reason}. It is started again ({member.restarts} of {most} in a "
            "row), and its unfinished episodes count as truncated.",
            RuntimeWarning,
            stacklevel=2,
        )

    def _start(self, members: Sequence[Member]) -> dict[int, str]:
        """
        Start workers.

        :return: why it failed, by worker
        """
        asked, lost, resources = {}, {}, self._resources(members)
        for member in members:
            options = {"scheduling_strategy": "SPREAD", **resources}
            actor = self._class.options(max_restarts=0, **options)
            member.begin(actor.remote(self._makers[member.index]))
            member.num_cpus = resources["num_cpus"]
            asked[member.index] = member.actor.start.remote()
        end = time.monotonic() + self._options.start_timeout
        for index, ref in asked.items():
            member = self.members[index]
            try:
                *found, host, pid = self._get(index, ref, max(end - time.monotonic(), 0.0))
            except Lost as error:
                had = self._options.start_timeout
                lost[index] = f"{error} (it had {had:g} s, and Ray was asked for {resources})"
                continue
            member.place = f"process {pid} on {host}"
            self.spaces = self.spaces or Spaces(*found)
            refuse_other_spaces(str(member), Spaces(*found), self.spaces)
        return lost

    def _resources(self, members: Sequence[Member]) -> dict[str, Any]:
        """
        Return what Ray shall reserve for each of some workers, as far as it can.

        :param members: shall be started; those whose place they take, if any, are dead
        """
        given = self._options.resources
        if "num_cpus" in given:
            return dict(given)
        end = time.monotonic() + (FREED if any(member.num_cpus for member in members) else 0.0)
        while not (is_free := len(members) <= self._free_cpus()) and time.monotonic() < end:
            time.sleep(FREED / 20)
        return {"num_cpus": int(is_free), **given}

    def _free_cpus(self) -> float:
        return float(self._ray.available_resources().get("CPU", 0))

    def close(self) -> None:
        """Let all environments close, as far as they answer, and end the workers."""
        if self._ray.is_initialized():
            asked = [member.actor.close.remote() for member in self.members]
            self._ray.wait(asked, num_returns=len(asked), timeout=CLOSING)
        self.kill()

    def kill(self) -> None:
        """End all workers at once, and for good."""
        self._is_over = True
        for member in self.members:
            if member.actor is not None and self._ray.is_initialized():
                self._ray.kill(member.actor)

    def _refuse_unsendable(self, makers: Sequence[Callable[[], gym.Env]]) -> None:
        for maker in {id(maker): maker for maker in makers}.values():  # some have no hash
            try:
                self._ray.cloudpickle.dumps(maker)
            except Exception as error:  # whatever the objects in it raise
                raise ValueError(
                    f"make_env={maker!r} cannot be sent to worker processes ({error}). Let it "
                    "make what it needs by itself, instead of taking it from around it."
                ) from error


def _left(end: float) -> float | None:
    """Return the seconds until a time; None: any number."""
    return None if end == inf else max(end - time.monotonic(), 0.0)


class Lost(Exception):
    """A worker does not answer any more."""


class RemoteError(RuntimeError):
    """
    An environment raised in its worker.

    :param message: what and where
    :param cause: what it raised
    """

    def __init__(self, message: str, cause: BaseException) -> None:
        super().__init__(message)
        self.cause = cause


def _reason(error: Exception) -> str:
    """Shorten what Ray says of a dead worker to why it is dead."""
    text = str(error)
    if found := re.search(r"Worker exit detail: (.*?)(?: Some common causes.*)?$", text, re.M):
        return found[1].strip().rstrip(".")
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1].rstrip(".") if "creation task" in lines[0] else lines[0].rstrip(".")
