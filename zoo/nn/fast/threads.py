"""Work on pieces of a batch in threads: for networks whose single operations are too small."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch as th

from dreamzoo.nn.fast.switch import computes_plainly

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_pieces(
    function: Callable[[Item], Result], pieces: Sequence[Item], device: th.device
) -> list[Result]:
    """
    Apply a function to every piece, on a CPU in ``torch.get_num_threads()`` threads.

    An operation on a few hundred rows is over before a second thread has begun to help it.
    Here every thread takes pieces of its own instead, each operation on one core. The result
    does not depend on the number of threads as long as the pieces do not.

    :param function: must not need a gradient: it runs without one
    :param pieces: their number is the most threads that can be used
    :param device: where the tensors are; anything but a CPU is worked on in order
    """
    beside = device.type == "cpu" and not computes_plainly()
    threads = min(th.get_num_threads(), len(pieces)) if beside else 1
    if threads == 1:
        with th.no_grad():
            return [function(piece) for piece in pieces]

    def without_gradient(piece: Item) -> Result:
        with th.no_grad():  # holds for the thread that says so
            return function(piece)

    return _side_by_side(without_gradient, pieces, threads)


def backward_in_parallel(losses: Sequence[th.Tensor]) -> None:
    """
    Go back from several losses, on a CPU at the same time; gradients add up as for their sum.

    :param losses: scalars whose graphs have nothing in common but parameters
    """
    beside = losses[0].device.type == "cpu" and not computes_plainly()
    if len(losses) == 1 or not beside or th.get_num_threads() == 1:
        th.stack(list(losses)).sum().backward()
        return
    _side_by_side(th.Tensor.backward, losses, len(losses))


def _side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> list[Result]:
    """
    Apply a function in threads, every operation on one core.

    Whatever interrupts it: when it ends, no thread is still at work on what the caller may use.
    """
    before = th.get_num_threads()
    futures: list[Future[Result]] = []
    try:
        th.set_num_threads(1)  # for this thread; the pool's own say so when they begin
        futures.extend(_pool(threads).submit(function, item) for item in items)
        return [future.result() for future in futures]
    finally:
        try:
            for future in futures:
                future.cancel()
            wait(futures)
        finally:
            th.set_num_threads(before)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        threads, thread_name_prefix="dreamzoo", initializer=th.set_num_threads, initargs=(1,)
    )


# A forked process inherits the pool without its threads and would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
