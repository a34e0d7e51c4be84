"""What is computed at once on CUDA is what is computed in order."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.streams import at_once


def _inputs(device: str) -> list[Tensor]:
    generator = th.Generator().manual_seed(0)
    numbers = 0.03 * th.randn(3, 512, 512, generator=generator)
    return [x.to(device).requires_grad_() for x in numbers]


def _compute(inputs: list[Tensor], compute: Callable[..., Any]) -> list[Tensor]:
    """Two chains of products of one beginning, and their gradients."""
    x, weight, other = inputs

    def first(beginning: Tensor) -> Tensor:
        for _ in range(20):
            beginning = th.sin(beginning @ weight)
        return beginning.sum()

    def second(beginning: Tensor) -> Tensor:
        for _ in range(20):
            beginning = th.tanh(beginning @ other)
        return beginning.sum()

    one, two = compute(first, second, x @ weight)
    loss = two + one
    return [loss.detach(), *th.autograd.grad(loss, inputs)]


def _in_order(first: Callable[..., Any], second: Callable[..., Any], *inputs: Any) -> Any:
    return first(*inputs), second(*inputs)


def _assert_equal(results: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(results, expected, strict=True):
        assert other.any()
        assert th.equal(one, other)


def test_two_functions_at_once_are_computed_in_order_on_a_cpu() -> None:
    inputs = _inputs("cpu")
    _assert_equal(_compute(inputs, at_once), _compute(inputs, _in_order))


@pytest.mark.gpu
def test_two_functions_at_once_give_the_same_numbers_alone_and_in_a_graph() -> None:
    inputs = _inputs("cuda")
    expected = _compute(inputs, _in_order)
    stream, graph = th.cuda.Stream(), th.cuda.CUDAGraph()
    stream.wait_stream(th.cuda.current_stream())
    with th.cuda.stream(stream):
        alone = _compute(inputs, at_once)
    th.cuda.current_stream().wait_stream(stream)
    with th.cuda.graph(graph, stream=stream):
        recorded = _compute(inputs, at_once)
    graph.replay()
    for results in (alone, recorded):
        _assert_equal(results, expected)
