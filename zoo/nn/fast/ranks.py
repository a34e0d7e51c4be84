"""
One agent on several devices: what its processes, the ranks, tell each other.

Every rank has environments, a replay and random numbers of its own, and computes gradients of its
share of a batch. They are added up in one piece, so that all ranks make the same update. With one
process nothing here does anything, and every function returns what it was given.
"""

import atexit
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch as th
import torch.distributed as dist
from torch import Tensor

from dreamzoo.nn.fast.rank_watch import RankWatch, watch_ranks

#: Set by torchrun and whatever else starts ranks.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: Between two looks at the others while waiting for them.
POLL = timedelta(seconds=1)
#: How long to wait for ranks that are alive: one of them may evaluate or save.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Place:
    """
    Which of the ranks this process is.

    :param index: 0 logs, evaluates and saves
    :param count: 1: there are no others
    """

    index: int
    count: int


def place() -> Place:
    """
    Return which rank this process is, of the group that there is or that torchrun announces.

    Example:
        >>> from dreamzoo.nn.fast.ranks import place
        >>> place()
        Place(index=0, count=1)
    """
    if dist.is_available() and dist.is_initialized():
        return Place(dist.get_rank(), dist.get_world_size())
    if not all(name in os.environ for name in VARIABLES):
        return Place(0, 1)
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def share(number: int) -> int:
    """
    Return how much of a number is this rank's.

    :param number: of all ranks together
    """
    return max(number // place().count, 1)


def own_seed(seed: int) -> int:
    """
    Return a seed that no other rank has; the first rank's is the one that is given.

    :param seed: at least 0
    """
    index = place().index
    if index == 0:
        return seed
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] % 2**31)


def own_device(device: th.device | str) -> th.device | str:
    """
    Choose the GPU of this rank, unless it is said which one.

    :param device: ``auto``, ``cpu``, ``cuda``, ...
    """
    is_open = str(device) in ("auto", "cuda") and th.cuda.is_available()
    if not is_open or place().count == 1:
        return device
    # A launcher may let every rank see no more than its own.
    local = int(os.environ.get("LOCAL_RANK", place().index))
    return th.device("cuda", local if th.cuda.device_count() > 1 else 0)


# ------------------------------------------------------------------ working together


class Team:
    """
    The processes of an agent.

    :param device: of the agent
    """

    def __init__(self, device: th.device) -> None:
        here = place()
        self.index, self.count = here.index, here.count
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
            atexit.register(_leave)
        self.world = dist.group.WORLD
        self._host = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.device = device
        on_gpu = device.type == "cuda"
        self._fast = self.world if on_gpu else self._host
        #: Whether what is told on the device can be recorded in a CUDA graph.
        self.can_record = on_gpu and "nccl" in str(dist.get_backend(self.world))
        self.watch: RankWatch | None = None

    def begin(self) -> None:
        """Look after each other from now on."""
        self.watch = watch_ranks(next(_sessions), self.index, self.count)

    def add_up(self, x: Tensor, op: Any = dist.ReduceOp.SUM) -> None:
        """Replace a tensor by the sum over all ranks."""
        self._wait(dist.all_reduce(x, op=op, group=self._group(x), async_op=True), x)

    def gather(self, x: Tensor) -> Tensor:
        """Return the tensors of all ranks, of the same shape, one after the other, (count * n,)."""
        parts = [th.empty_like(x) for _ in range(self.count)]
        self._wait(dist.all_gather(parts, x, group=self._group(x), async_op=True), x)
        return th.cat(parts)

    def spread(self, x: Tensor) -> None:
        """Replace a tensor by that of the first rank."""
        source = dist.get_global_rank(self._group(x), 0)
        self._wait(dist.broadcast(x, source, group=self._group(x), async_op=True), x)

    def _group(self, x: Tensor) -> Any:
        return self._fast if x.is_cuda else self._host

    def _wait(self, work: Any, x: Tensor) -> None:
        if x.is_cuda and self.can_record:
            work.wait()  # the stream waits, not the host
            return
        assert self.watch is not None
        while not work.is_completed():
            try:
                work.wait(POLL)
            except RuntimeError:  # it is not there yet, or will never be
                self.watch.check()
        try:
            work.wait()
        except RuntimeError as error:
            self.watch.lost(error)


#: Integers of so many bytes.
_BITS = {1: th.uint8, 2: th.int16, 4: th.int32, 8: th.int64}

_team: Team | None = None
#: How often ranks have begun to work together, in whatever teams: the same number on all.
_sessions = itertools.count()
#: Who works, and with whom: None is a learning within another one, which knows no other ranks.
_working: list[tuple[object, Team | None]] = []
_losses_are_joint = False


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def current() -> Team | None:
    """Return the other ranks and this one; None where this process works alone."""
    return _working[-1][1] if _working else None


def count() -> int:
    """Return how many ranks work together now."""
    team = current()
    return 1 if team is None else team.count


def index() -> int:
    """Return which of the ranks that work together now this one is."""
    team = current()
    return 0 if team is None else team.index


def is_learning(owner: object) -> bool:
    """
    Return whether an agent is the one that works now.

    :param owner: the agent
    """
    return bool(_working) and _working[-1][0] is owner


@contextmanager
def together(owner: object, device: th.device) -> Iterator[None]:
    """
    Work with the other ranks, if there are any; all of them have to come here.

    The group of processes is the one that the user has made, else one is made as torchrun says.

    :param owner: the agent that learns
    :param device: of the agent
    :raises RankError: where another rank stops
    """
    global _team
    if place().count == 1 or is_learning(owner):
        yield
        return
    if _working:
        _working.append((owner, None))
        try:
            yield
        finally:
            _working.pop()
        return
    if _team is None or _team.world is not dist.group.WORLD or _team.device != device:
        _team = Team(device)
    _team.begin()
    _working.append((owner, _team))
    error: BaseException | None = None
    try:
        with th.cuda.device(device) if device.type == "cuda" else nullcontext():
            yield
        every(True)  # nobody is needed any more
    except BaseException as caught:
        error = caught
        assert _team.watch is not None
        if isinstance(caught, KeyboardInterrupt) and _team.watch.interrupted:
            _team.watch.check()
        raise
    finally:
        _working.pop()
        assert _team.watch is not None
        _team.watch.end(error)


# ------------------------------------------------------------------ on the host


def every(flag: bool) -> bool:
    """
    Return whether something holds on all ranks.

    :param flag: whether it does here
    """
    return bool(_reduced(int(flag), dist.ReduceOp.MIN)) if current() else flag


def least(number: int) -> int:
    """
    Return the smallest number of all ranks.

    :param number: of this one
    """
    return _reduced(number, dist.ReduceOp.MIN) if current() else number


def total(number: int) -> int:
    """
    Add up numbers of all ranks.

    :param number: of this one
    """
    return _reduced(number, dist.ReduceOp.SUM) if current() else number


def _reduced(number: int, op: Any) -> int:
    team, value = current(), th.tensor([number])
    assert team is not None
    team.add_up(value, op)
    return int(value)


def told(value: Any) -> list[Any]:
    """
    Tell all ranks something.

    :param value: what JSON can say
    :return: what every rank has said, by their indices
    """
    if (team := current()) is None:
        return [value]
    data = th.frombuffer(bytearray(json.dumps(value).encode()), dtype=th.uint8)
    lengths = team.gather(th.tensor([len(data)])).tolist()
    padded = th.cat([data, data.new_zeros(max(lengths) - len(data))])
    rows = team.gather(padded).view(team.count, -1)
    found = [bytes(row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
    return [json.loads(text) for text in found]


def mean_numbers(numbers: Sequence[float]) -> list[float]:
    """
    Average numbers over all ranks.

    :param numbers: of this one
    """
    if (team := current()) is None or not numbers:
        return list(numbers)
    values = th.tensor(numbers, dtype=th.float64)
    team.add_up(values)
    return [float(x) for x in values / team.count]


# ------------------------------------------------------------------ on the device


@contextmanager
def joint_losses() -> Iterator[None]:
    """
    Let what losses average or count over a batch be that of all ranks' batches.

    Elsewhere :func:`of_all`, :func:`mean_of_all` and :func:`of_first` return what they are given:
    whoever computes losses for himself asks nobody.
    """
    global _losses_are_joint
    before, _losses_are_joint = _losses_are_joint, current() is not None
    try:
        yield
    finally:
        _losses_are_joint = before


def of_all(x: Tensor) -> Tensor:
    """
    Return what all ranks have, one after the other; without gradient.

    :param x: of this one, of the same shape on all, (n, ...)
    """
    team = current() if _losses_are_joint else None
    return x if team is None else team.gather(x.detach().contiguous())


def mean_of_all(x: Tensor) -> Tensor:
    """
    Average over all ranks; the gradient is that of this rank's part.

    :param x: of this one, of the same shape on all
    """
    if not _losses_are_joint or (team := current()) is None:
        return x
    mean = _mean(team, x)
    return x + (mean - x).detach() if x.requires_grad else mean


def of_first(x: Tensor) -> Tensor:
    """
    Return what the first rank has.

    :param x: of this one, of the same shape on all
    """
    if not _losses_are_joint or (team := current()) is None:
        return x
    copy = x.detach().clone()
    team.spread(copy)
    return copy


def mean_loss(loss: Tensor) -> Tensor:
    """
    Average a loss over all ranks, so that they find it good or bad together; without gradient.

    :param loss: scalar
    """
    team = current()
    return loss if team is None else _mean(team, loss)


def _mean(team: Team, x: Tensor) -> Tensor:
    copy = x.detach().clone()
    team.add_up(copy)
    return copy / team.count


@th.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """
    Replace gradients by their averages over all ranks, in one piece.

    :param parameters: with their gradients, the same on all ranks; those without are left alone
    """
    if (team := current()) is None:
        return
    trained = [(p, p.grad) for p in parameters if p.grad is not None]
    flat = th.cat([grad.flatten() for _, grad in trained])
    team.add_up(flat)
    flat /= team.count
    parts = flat.split([p.numel() for p, _ in trained])
    for (parameter, _), part in zip(trained, parts, strict=True):
        parameter.grad = part.view_as(parameter)


@th.no_grad()
def spread(tensors: Iterable[Tensor]) -> None:
    """
    Give all ranks the first one's values, in one piece for each dtype.

    :param tensors: of the same shapes on all ranks, changed in place
    """
    if (team := current()) is None:
        return
    kinds: dict[th.dtype, list[Tensor]] = {}
    for x in tensors:
        if x.numel():
            kinds.setdefault(x.dtype, []).append(x)
    for kind, group in kinds.items():
        flat = th.cat([x.flatten() for x in group])
        sent = flat.to(th.uint8) if kind is th.bool else flat
        team.spread(sent)
        for x, part in zip(group, sent.split([x.numel() for x in group]), strict=True):
            x.copy_(part.view_as(x))


def checksum(tensors: Iterable[Tensor]) -> int:
    """
    Return a number that is the same where all bits are, in whatever order they are added up.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.fast.ranks import checksum
        >>> checksum([torch.ones(3)]) == checksum([torch.ones(3) + 1e-7])
        False

    :param tensors: on any device
    """
    found = 0
    for place_, x in enumerate(tensors, start=1):
        bits = x.detach().contiguous().view(-1).view(_BITS[x.element_size()])
        found += place_ * int(bits.sum(dtype=th.int64))
    return found % 2**62
