"""Work in threads: same results, no gradient, the setting of the user untouched."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.pieces import by_rows
from dreamzoo.nn.fast.threads import backward_in_parallel, map_pieces
from dreamzoo.nn.networks.layers import MLP

CPU = th.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = th.get_num_threads()
    th.set_num_threads(request.param)
    yield request.param
    th.set_num_threads(before)


def test_pieces_come_back_in_order_and_without_gradient(threads: int) -> None:
    weight = th.ones(1, requires_grad=True)
    out = map_pieces(lambda i: weight * i, range(7), CPU)
    assert [float(x) for x in out] == list(range(7))
    assert not any(x.requires_grad for x in out)
    assert th.is_grad_enabled()


def test_every_piece_runs_on_one_core_and_the_setting_comes_back(threads: int) -> None:
    assert map_pieces(lambda _: th.get_num_threads(), range(4), CPU) == [1] * 4
    assert th.get_num_threads() == threads
    with pytest.raises(ZeroDivisionError):
        map_pieces(lambda i: 1 // i, [1, 0, 1], CPU)
    assert th.get_num_threads() == threads


def test_pieces_run_at_the_same_time(threads: int) -> None:
    """Every piece waits for the others: in order this would time out."""
    barrier = threading.Barrier(threads, timeout=20)
    map_pieces(lambda _: barrier.wait(), range(threads), CPU)


def test_other_devices_are_worked_on_in_order(threads: int) -> None:
    names = map_pieces(lambda _: threading.current_thread().name, range(3), th.device("meta"))
    assert set(names) == {threading.current_thread().name}


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    """Bit for bit, gradients too: sums are over the same parts in the same order."""
    stack, x = MLP(4, [8, 8]), th.randn(2000, 4)
    results: list[list[Tensor]] = []
    before = th.get_num_threads()
    for threads in (1, 2, 3):
        th.set_num_threads(threads)
        rows = x.clone().requires_grad_()
        out = stack(rows)
        gradients = th.autograd.grad(out.square().sum(), [rows, *stack.parameters()])
        with th.no_grad():
            pieces = by_rows(stack, x, 100)
        results.append([pieces, out.detach(), *gradients])
    th.set_num_threads(before)
    for other in results[1:]:
        assert all(th.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    before = th.get_num_threads()
    th.set_num_threads(2)
    try:
        barrier = threading.Barrier(2, timeout=20)
        map_pieces(lambda _: barrier.wait(), range(2), CPU)
        child = os.fork()
        if child == 0:  # nothing of the test's own must run here
            os._exit(sum(map_pieces(lambda i: i, range(3), CPU)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    finally:
        th.set_num_threads(before)


def test_losses_go_back_side_by_side_as_their_sum_would(threads: int) -> None:
    shared, own = MLP(4, [8]), MLP(4, [8])
    x = th.randn(1500, 4)
    parameters = [*shared.parameters(), *own.parameters()]
    losses = [(shared(x) * own(x)).sum(), shared(2 * x).square().sum()]
    expected = th.autograd.grad(losses[0] + losses[1], parameters, retain_graph=True)
    backward_in_parallel(losses)
    for p, gradient in zip(parameters, expected, strict=True):
        assert p.grad is not None
        assert th.equal(p.grad, gradient)


def test_an_interrupt_leaves_no_thread_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = th.get_num_threads()
    finished: list[int] = []

    def slowly(piece: int) -> None:
        time.sleep(0.1)
        finished.append(piece)

    def interrupted(*_: Any) -> None:
        time.sleep(0.02)  # until both have begun
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    th.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            map_pieces(slowly, range(2), CPU)
        begun = len(finished)
        time.sleep(0.2)
        assert len(finished) == begun
        assert th.get_num_threads() == 2
    finally:
        th.set_num_threads(before)
