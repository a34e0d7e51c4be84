"""Functions that are recorded and repeated, on a GPU and by the stand-in for one."""

import warnings
from typing import Any, NamedTuple

import pytest
import torch as th

from dreamzoo.nn.fast import graphs
from dreamzoo.nn.fast.graphs import WARMUP, Graph
from tests import replayer


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device on which graphs are recorded."""
    if request.param == "cpu":
        replayer.install(monkeypatch)
    return request.param


class Pair(NamedTuple):
    left: th.Tensor
    right: dict[str, th.Tensor]


def test_calls_are_computed_once_each_and_equal_direct_ones(where: str) -> None:
    total, plain_total = th.zeros(3, device=where), th.zeros(3, device=where)
    generators = [th.Generator(where).manual_seed(0) for _ in range(2)]

    def add(total: th.Tensor, generator: th.Generator, pair: Pair) -> Pair:
        noise = th.rand(3, generator=generator, device=where)
        total.add_(pair.left).add_(noise)
        return Pair(total * pair.right["x"], {"noise": noise})

    graph = Graph(lambda pair: add(total, generators[0], pair), generators[:1])
    for n in range(8):
        pair = Pair(th.full((3,), float(n), device=where), {"x": th.ones(3, device=where) + n})
        got = graphs.detached(graph(pair))
        expected = add(plain_total, generators[1], pair)
        assert th.equal(got.left, expected.left)
        assert th.equal(got.right["noise"], expected.right["noise"])
        assert graph.is_recorded == (n >= WARMUP)
    assert th.equal(total, plain_total)
    assert th.equal(*(g.get_state() for g in generators))


def test_gradients_and_what_is_mutated(where: str) -> None:
    weight = th.nn.Parameter(th.ones(2, device=where))

    def descend(x: th.Tensor) -> th.Tensor:
        weight.grad = None
        loss = (weight * x).square().sum()
        loss.backward()
        assert weight.grad is not None
        with th.no_grad():
            weight.sub_(0.01 * weight.grad)
        return loss.detach()

    graph, expected = Graph(descend, mutated=lambda: [weight]), th.ones(2, device=where)
    for n in range(7):
        x = th.tensor([1.0, n], device=where)
        version = weight._version
        graph(x)
        assert weight._version > version, "whoever keeps what follows from it must notice"
        expected = expected - 0.02 * expected * x**2
        th.testing.assert_close(weight.detach(), expected)


def test_another_shape_or_mode_is_recorded_anew(where: str) -> None:
    graph: Graph[th.Tensor] = Graph(lambda x: 2 * x)
    for rows in (2, 3, 2):
        for _ in range(WARMUP + 2):
            assert graph(th.ones(rows, device=where)).tolist() == [2.0] * rows
        assert graph.is_recorded
    with th.no_grad():
        graph(th.ones(2, device=where))
    assert not graph.is_recorded


def test_what_cannot_be_recorded_runs_step_by_step_and_says_why(where: str) -> None:
    generator = th.Generator(where).manual_seed(1)

    def ask(x: th.Tensor) -> th.Tensor:
        x = x + th.rand(2, generator=generator, device=where) + th.rand(2, device=where)
        return x if float(x.sum()) > 0 else -x

    graph = Graph(ask, [generator])
    x = th.ones(2, device=where)
    for _ in range(WARMUP):
        graph(x)
    with pytest.warns(UserWarning, match="ask cannot be recorded .* step by step, which is slower"):
        graph(x)
    assert not graph.is_recorded
    drawn = {float(graph(x).sum()) for _ in range(3)}
    assert len(drawn) == 3, "generators draw again"
    generator.manual_seed(1)
    th.manual_seed(1)
    first = graph(x).clone()
    generator.manual_seed(1)
    th.manual_seed(1)
    assert th.equal(graph(x), first)


@pytest.mark.gpu
def test_the_second_gpu_records_what_it_computes() -> None:
    if th.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    graph: Graph[th.Tensor] = Graph(lambda x: 2 * x)
    for n in range(WARMUP + 3):
        assert graph(th.full((2,), float(n), device="cuda:1")).tolist() == [2.0 * n] * 2
    assert graph.is_recorded


def test_off_means_off(where: str) -> None:
    calls: list[int] = []

    def count(x: th.Tensor) -> th.Tensor:
        calls.append(1)
        return x

    graph = Graph(count, enabled=False)
    for _ in range(6):
        graph(th.ones(1, device=where))
    assert len(calls) == 6


def test_on_a_cpu_functions_are_called_directly() -> None:
    calls: list[Any] = []
    graph = Graph(calls.append)
    for n in range(6):
        graph(n)
    assert calls == [*range(6)]


class Holder:
    """Refers to itself by its recording, as agents do: only the collector finds it."""

    def __init__(self) -> None:
        self.graph: Graph[th.Tensor] = Graph(self.double)
        self.others: list[Holder] = []

    def double(self, x: th.Tensor) -> th.Tensor:
        self.others.clear()
        garbage: list[list[int]] = [[] for _ in range(10**5)]  # the collector would begin here
        assert garbage
        return 2 * x


def test_an_older_recording_may_be_destroyed_while_another_is_made(where: str) -> None:
    old, new, x = Holder(), Holder(), th.ones(2, device=where)
    for _ in range(WARMUP + 2):
        old.graph(x)
    for _ in range(WARMUP):
        new.graph(x)
    new.others.append(old)
    del old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert new.graph(x).tolist() == [2.0, 2.0]
    assert new.graph.is_recorded
