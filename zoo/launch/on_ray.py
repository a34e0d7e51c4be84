"""Attempts on a Ray cluster."""

import sys
import uuid
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from dreamzoo.envs.remote.cluster import connect
from dreamzoo.launch.attempt import ELSEWHERE, Attempt, NotReady, Outcome, Submit
from dreamzoo.launch.on_node import Report, look_around, train
from dreamzoo.launch.watch import GRACE

#: Seconds in which every node has to say what it sees; it may have to start a process first.
ANSWER = 120.0


class RayTasks:
    """
    Make attempts on a Ray cluster: each a task that starts the process and watches it.

    A task asks for as many CPUs as its run has threads. What Ray notices of the death of a process
    or of a node is an attempt that was killed; where this process dies, Ray ends its tasks, and
    they end their processes. Nothing but the command line is sent to a node: it needs the same
    dreamzoo, and the folders of the runs on a shared file system.

    :param address: of the cluster, see :func:`~dreamzoo.envs.remote.cluster.connect`
    :param gpus: that each run asks for, may be a part of one; None: one for device ``cuda``, and
        for ``auto`` if the cluster has any
    :param memory: bytes that each run asks for; None: any
    :raises ValueError: for GPUs that Ray cannot give
    """

    def __init__(
        self, address: str | None = None, gpus: float | None = None, memory: int | None = None
    ) -> None:
        if gpus is not None and not (0 < gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
            raise ValueError(f"gpus={gpus} must be a part of one, or a whole number, above 0.")
        if memory is not None and memory <= 0:
            raise ValueError(f"memory={memory} must be above 0, in bytes.")
        self.address, self.gpus, self.memory = address, gpus, memory

    @contextmanager
    def open(self, folders: Collection[Path], jobs: int | None) -> Iterator[Submit]:
        """
        Make ready for attempts; where the block ends, those that still run are ended.

        :param folders: of the runs, which every node has to see
        :param jobs: how many at once, which Ray does not need to know
        :raises NotReady: if there is no cluster, or names a node that is not fit for runs
        """
        before = "ray" in sys.modules and sys.modules["ray"].is_initialized()
        try:
            ray = connect(self.address)
        except (ImportError, OSError, ValueError) as error:
            raise NotReady(str(error)) from error
        try:
            with _marked(folders) as marks:
                _check_nodes(ray, marks)
                tasks = _Tasks(ray, marks, self)
                try:
                    yield tasks.submit
                finally:
                    tasks.end()
        finally:
            if not before:
                ray.shutdown()

    def resources(self, attempt: Attempt, cluster: Mapping[str, float]) -> dict[str, float]:
        """
        Say what an attempt asks for.

        :param attempt: which shall be made
        :param cluster: what there is of each resource
        :raises NotReady: if it wants a GPU of its own choice
        """
        if ":" in attempt.device:
            raise NotReady(
                f"--device {attempt.device}: Ray chooses the GPU of each run. Say --device cuda."
            )
        wants = attempt.device == "cuda" or (attempt.device == "auto" and cluster.get("GPU", 0) > 0)
        gpus = float(wants) if self.gpus is None else self.gpus
        asked = {"num_cpus": attempt.threads, "num_gpus": gpus, "memory": self.memory or 0}
        return {name: amount for name, amount in asked.items() if amount or name == "num_cpus"}


class _Tasks:
    """Tasks of one call, each with an attempt."""

    def __init__(self, ray: Any, marks: Sequence[Path], asked: RayTasks) -> None:
        self._ray, self._marks, self._asked = ray, marks, asked
        self._refs: dict[Future[Outcome], Any] = {}
        self._avoided: set[str] = set()  # nodes
        self._is_warned = False
        self._train = ray.remote(train)

    def submit(self, attempt: Attempt) -> "Future[Outcome]":
        """Begin an attempt as soon as a node has what it asks for."""
        asked = self._asked.resources(attempt, self._ray.cluster_resources())
        self._warn_if_too_much(asked)
        # Tries are counted by whoever asks for them.
        options: dict[str, Any] = {**asked, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        if self._avoided:
            others = ",".join(sorted(self._avoided))
            options["label_selector"] = {"ray.io/node-id": f"!in({others})"}
        ref = self._train.options(**options).remote(attempt, self._marks, Path.cwd())
        future: Future[Outcome] = Future()
        self._refs[future] = ref
        ref.future().add_done_callback(partial(self._hand_on, future))
        return future

    def _hand_on(self, future: "Future[Outcome]", answer: "Future[tuple[str, Outcome]]") -> None:
        """Turn what Ray answers into an outcome; called by a thread of Ray's."""
        del self._refs[future]
        if (error := answer.exception()) is not None:
            future.set_result(_outcome(self._ray, error))
            return
        node, outcome = answer.result()
        if outcome.code == ELSEWHERE:
            self._avoided.add(node)
        future.set_result(outcome)

    def _warn_if_too_much(self, asked: Mapping[str, float]) -> None:
        """Say it where no node has what an attempt asks for: Ray waits for one that joins."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        needed = {names[name]: amount for name, amount in asked.items()}
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        nodes = [node["Resources"] for node in alive if node["NodeID"] not in self._avoided]
        if self._is_warned or any(
            all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in nodes
        ):
            return
        self._is_warned = True
        words = ", ".join(f"{name} {amount:g}" for name, amount in needed.items())
        has = "; ".join(
            ", ".join(f"{name} {node.get(name, 0):g}" for name in needed) for node in nodes
        )
        warnings.warn(
            f"A run asks for {words}, which no node of the cluster has "
            f"({has or 'none that sees the folder of the runs is left'}): it waits until one joins "
            "that has.",
            stacklevel=2,
        )

    def end(self) -> None:
        """End what still runs, its processes first."""
        refs = list(self._refs.values())
        for ref in refs:
            self._ray.cancel(ref)
        if refs:
            _, left = self._ray.wait(refs, num_returns=len(refs), timeout=2 * GRACE)
            for ref in left:
                self._ray.cancel(ref, force=True)


def _outcome(ray: Any, error: BaseException) -> Outcome:
    """Say what an error of Ray's means for an attempt."""
    of_the_task = (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError)
    unschedulable = (ray.exceptions.TaskUnschedulableError, ray.exceptions.TaskCancelledError)
    if isinstance(error, (*of_the_task, *unschedulable)):
        return Outcome(1, str(error).strip().rpartition("\n")[2])
    return Outcome(-9, f"its worker process is gone ({type(error).__name__})")


@contextmanager
def _marked(folders: Collection[Path]) -> Iterator[list[Path]]:
    """Put a file that is locked into every folder while the block lasts."""
    marks = [folder.absolute() / f".{uuid.uuid4().hex}" for folder in folders]
    try:
        with ExitStack() as stack:
            for mark in marks:
                stack.enter_context(FileLock(mark))
            yield marks
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


def _check_nodes(ray: Any, marks: Sequence[Path]) -> None:
    """
    Ask every node that can get runs what it sees.

    :raises NotReady: names the first that is not fit for runs
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    at = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    look = ray.remote(look_around)
    asked = {}
    for node in nodes:
        there = {"num_cpus": 0, "scheduling_strategy": at(node["NodeID"], soft=False)}
        asked[look.options(**there).remote(marks)] = node
    here = look_around(marks)
    ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
    for ref, node in asked.items():
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            report: Report = ray.get(ref, timeout=0)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
            raise NotReady(f"The node {name} cannot say what it sees: {reason}") from error
        _check_node(name, report, here)


def _check_node(name: str, report: Report, here: Report) -> None:
    if report.unseen:
        raise NotReady(
            f"The node {name} does not see {report.unseen[0]}: nothing was begun. Runs write to "
            "one folder that all nodes share, such as one of a file server; name it with --out."
        )
    if report.versions != here.versions:
        raise NotReady(
            f"The node {name} has {_words(report.versions)}, and this machine has "
            f"{_words(here.versions)}: runs would not be comparable. Install the same on both."
        )
    if report.unlocked and report.host != here.host:
        warnings.warn(
            f"The node {name} does not notice locks of {here.host} in {report.unlocked[0]}. Do not "
            "let two calls of this command share the work there, nor start one again before all "
            "processes of the last are gone.",
            stacklevel=2,
        )


def _words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())
