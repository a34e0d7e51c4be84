"""What is computed at once on CUDA is what is computed in order."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch import Tensor, nn

from dreamzoo import DreamerV3
from dreamzoo.nn.fast import streams
from dreamzoo.nn.fast.streams import at_once, derived
from tests.sb3.conftest import TINY, TINY_POLICY


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def where(request: pytest.FixtureRequest) -> str:
    """A device."""
    return request.param


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


@pytest.mark.parametrize("weight", [1.0, -3.0])
def test_a_derived_loss_has_the_gradients_of_a_direct_one(
    weight: float, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = nn.ModuleDict({name: nn.Linear(4, 3) for name in ("used", "unused")})
    module["frozen"] = nn.Linear(3, 3).requires_grad_(False)
    module.to(where)
    beginning = th.randn(5, 4, device=where, requires_grad=True)

    def losses(x: Tensor) -> dict[str, Tensor]:
        return {"one": module["frozen"](module["used"](x).tanh()).square().mean()}

    def compute(through: Callable[..., dict[str, Tensor]]) -> list[Tensor | None]:
        module.zero_grad()
        beginning.grad = None
        x = beginning.sin()
        ((name, loss),) = through(losses, x, module).items()
        assert name == "one"
        (weight * loss + x.sum()).backward()
        return [loss, beginning.grad, *(p.grad for p in module.parameters())]

    direct = compute(lambda losses, x, module: losses(x))
    monkeypatch.setattr(streams, "_overlaps", lambda x: True)
    for one, other in zip(compute(derived), direct, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert other.any()
            th.testing.assert_close(one, other)


@pytest.mark.parametrize("hooked", ["x", "bias"])
def test_several_losses_and_those_with_hooks_are_not_derived(
    hooked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_overlaps", lambda x: True)
    module, x = nn.Linear(2, 1), th.ones(3, 2, requires_grad=True)

    def losses(x: Tensor) -> dict[str, Tensor]:
        return {"one": module(x).mean()}

    assert is_derived(derived(losses, x, module)["one"])
    several = derived(lambda x: losses(x) | {"other": x.sum()}, x, module)
    assert not any(map(is_derived, several.values()))
    (x if hooked == "x" else module.bias).register_hook(lambda grad: 2 * grad)
    assert not is_derived(derived(losses, x, module)["one"])


def is_derived(loss: Tensor) -> bool:
    return type(loss.grad_fn).__name__.startswith("_Derived")


def test_losses_without_gradient_are_not_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_overlaps", lambda x: True)
    module, x = nn.Linear(2, 1), th.ones(3, 2)

    def losses(x: Tensor) -> dict[str, Tensor]:
        return {"one": module(x).mean()}

    assert not is_derived(derived(losses, x, module)["one"])
    with th.no_grad():
        assert not derived(losses, x.requires_grad_(), module)["one"].requires_grad
    assert is_derived(derived(losses, x, module)["one"])


def test_an_update_with_derived_losses_is_that_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def agent() -> DreamerV3:
        settings = TINY["dreamer_v3"] | {"learning_starts": 10**6, "seed": 0, "device": "cpu"}
        kwargs = TINY_POLICY["dreamer_v3"]
        env = "Pendulum-v1"
        return DreamerV3("MlpPolicy", env, policy_kwargs=kwargs, **settings).learn(30)

    direct, other = agent(), agent()
    direct.train(3)
    asked: list[Tensor] = []

    def overlaps(x: Tensor) -> bool:
        asked.append(x)
        return True

    monkeypatch.setattr(streams, "_overlaps", overlaps)
    other.train(3)
    assert len(asked) == 3
    for one, two in zip(direct.policy.parameters(), other.policy.parameters(), strict=True):
        th.testing.assert_close(one, two)
