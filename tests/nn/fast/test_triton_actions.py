"""Policies and beliefs in Triton against their plain form in float64."""

from collections.abc import Callable

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical, divergences
from dreamzoo.nn.distributions import BoundedNormalActions, CategoricalActions
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.networks.layers import MLP
from tests.nn.fast.triton_forms import DEVICES, Random, assert_equal_forms, both

pytest.importorskip("triton")


@pytest.fixture(params=DEVICES)
def where(request: pytest.FixtureRequest) -> str:
    """Where Triton computes."""
    return request.param


@pytest.fixture(autouse=True)
def _floats_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the plain form, which widens to float32, compute in float64."""
    monkeypatch.setattr(Tensor, "float", lambda x: x if x.dtype is th.float64 else x.to(th.float32))


@pytest.mark.parametrize("shape", [(1, 1), (300, 3)])
def test_bounded_normal(where: str, shape: tuple[int, int]) -> None:
    def case(random: Random) -> list[Tensor]:
        raw = [random.normal(*shape).requires_grad_() for _ in range(2)]
        policy = BoundedNormalActions(raw[0], raw[1])
        with th.no_grad():
            action = policy.from_noise(random.normal(*shape))
        terms = policy.log_prob_and_entropy(action)
        weights = [random.normal(shape[0]) for _ in range(2)]
        loss = sum((w * x).sum() for w, x in zip(weights, terms, strict=True))
        with th.no_grad():
            limited = kernels.limited(action)
        return [action, limited, *terms, *th.autograd.grad(loss, raw)]  # type: ignore[arg-type]

    assert_equal_forms(case, where, 2e-5)


@pytest.mark.parametrize("sizes", [[2], [5, 3, 18]])
def test_categoricals_choose_the_same_classes(where: str, sizes: list[int]) -> None:
    def case(random: Random) -> list[Tensor]:
        with th.no_grad():
            policy = CategoricalActions(random.normal(3, 40, sum(sizes)), sizes, 0.01)
            noise = random.uniform(3, 40, len(sizes))
            noise[0, 0] = 1 - 2**-24
            return [policy.from_noise(noise)]

    (fast,), (plain,) = both(case, where)
    assert fast.dtype is plain.dtype is th.int64
    assert th.equal(fast, plain)


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 5, 6, 5), (1, 3, 32, 48)])
def test_divergences(where: str, shape: tuple[int, ...]) -> None:
    def case(random: Random) -> list[Tensor]:
        post, prior = (
            random.normal(*shape).softmax(-1).mul(0.99).add(0.01 / shape[-1]).requires_grad_()
            for _ in range(2)
        )
        dyn, rep, *entropies = divergences(Categorical(post), Categorical(prior))
        weights = [random.normal(*shape[:2]) for _ in range(2)]
        loss = (weights[0] * dyn + weights[1] * rep).sum()
        grads = th.autograd.grad(loss, [post, prior])
        return [dyn, rep, *entropies, *grads]

    assert_equal_forms(case, where, 2e-5)


def test_a_stack_goes_back_through_all_rows_at_once(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamzoo.nn.fast.tapes.PARTS", 1)

    def layers(whole: bool) -> Callable[[Random], list[Tensor]]:
        def case(random: Random) -> list[Tensor]:
            th.manual_seed(0)
            stack = MLP(4, [6, 5]).to(where, random.dtype)
            x = random.normal(9, 4).requires_grad_()
            tape = stack.tape(9)
            tape.forward(x.detach())
            grad = random.normal(9, 5)
            with th.no_grad():
                if not whole:
                    x_grad, grads = tape.backward(grad, True)
                else:
                    x_grad = th.empty_like(x)
                    grads = tape._whole_backward(grad, x_grad)
            assert x_grad is not None
            return [x_grad, *grads]

        return case

    at_once, _ = both(layers(True), where)
    _, in_pieces = both(layers(False), where)
    for one, other in zip(at_once, in_pieces, strict=True):
        assert other.any()
        th.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
