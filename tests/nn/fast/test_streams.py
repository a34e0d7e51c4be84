"""What is computed aside on CUDA is what is computed in order."""

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.streams import Aside


def _inputs(device: str) -> list[Tensor]:
    generator = th.Generator().manual_seed(0)
    numbers = 0.03 * th.randn(3, 512, 512, generator=generator)
    return [x.to(device).requires_grad_() for x in numbers]


def _compute(inputs: list[Tensor], aside: Aside) -> list[Tensor]:
    """Two chains of products of one beginning, one of them aside, and their gradients."""
    x, weight, other = inputs
    beginning = x @ weight
    aside.begin()
    second = beginning
    for _ in range(20):
        second = th.sin(second @ weight)
    with aside.reading(beginning):
        first = beginning
        for _ in range(20):
            first = th.tanh(first @ other)
        first = first.sum()
    aside.join()
    loss = first + second.sum()
    return [loss.detach(), *th.autograd.grad(loss, inputs)]


def test_a_block_aside_is_computed_in_order_on_a_cpu() -> None:
    results = _compute(_inputs("cpu"), Aside(th.device("cpu")))
    assert all(x.isfinite().all() and x.any() for x in results)


@pytest.mark.gpu
def test_a_block_aside_gives_the_same_numbers_alone_and_in_a_graph() -> None:
    inputs, aside = _inputs("cuda"), Aside(th.device("cuda"))
    in_order = Aside(th.device("cpu"))
    expected = _compute(inputs, in_order)
    stream, graph = th.cuda.Stream(), th.cuda.CUDAGraph()
    stream.wait_stream(th.cuda.current_stream())
    with th.cuda.stream(stream):
        alone = _compute(inputs, aside)
    th.cuda.current_stream().wait_stream(stream)
    with th.cuda.graph(graph, stream=stream):
        recorded = _compute(inputs, aside)
    graph.replay()
    for result in (alone, recorded):
        for one, other in zip(result, expected, strict=True):
            assert other.any()
            assert th.equal(one, other)
