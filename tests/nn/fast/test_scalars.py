"""One pass forward serves two gradients, each as if there were no other."""

import pytest
import torch as th
import torch.nn.functional as F

from dreamzoo.nn.fast.pieces import CACHED_ROWS
from dreamzoo.nn.fast.switch import use
from dreamzoo.nn.networks.world_models import NormalHead, expect_one_hots


@pytest.mark.parametrize("rows", [3, CACHED_ROWS + 5])
@pytest.mark.parametrize("one_hots", [False, True])
@pytest.mark.parametrize("learned", [1, 2])
def test_both_gradients_are_those_of_two_passes(rows: int, one_hots: bool, learned: int) -> None:
    th.manual_seed(0)
    feat = th.randn(2, rows, 40)
    head = NormalHead(40, [16, 12], "elu")
    if one_hots:
        feat[..., 4:] = F.one_hot(th.randint(0, 12, (2, rows, 3)), 12).flatten(-2)
        expect_one_hots(slice(4, 40), head)
    feat.requires_grad_()
    sources, grads = [feat, *head.parameters()], th.randn(2, 2, rows)
    results = []
    for form in ("fast", "plain"):
        with use(form):
            of_feat, own = head.twice(feat, learned)
            assert len(own) == learned
            one = th.autograd.grad(of_feat, sources, grads[0], retain_graph=True, allow_unused=True)
            other = th.autograd.grad(
                own, sources, grads[1, :learned], retain_graph=True, allow_unused=True
            )
            results.append((of_feat, own, *one, *other))
    for fast, plain in zip(*results, strict=True):
        assert (fast is None) == (plain is None)
        if fast is not None:
            th.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
    _, _, into_feat, *rest = results[0]
    n = len(list(head.parameters()))
    assert into_feat is not None
    assert rest[: n + 1] == [None] * (n + 1)  # no weights of the first, no features of the second
    assert all(x is not None and x.any() for x in rest[n + 1 :])


def test_together_the_gradients_are_those_of_each_alone() -> None:
    feat = th.randn(50, 6, requires_grad=True)
    head = NormalHead(6, [5], "elu")
    of_feat, own = head.twice(feat)
    (of_feat.sum() - 2 * own.sum()).backward()
    expected = th.autograd.grad(head(feat).sum(), [feat, *head.parameters()])
    assert feat.grad is not None
    th.testing.assert_close(feat.grad, expected[0])
    for parameter, gradient in zip(head.parameters(), expected[1:], strict=True):
        th.testing.assert_close(parameter.grad, -2 * gradient)


def test_a_head_that_does_not_learn_passes_gradients_on() -> None:
    feat = th.randn(50, 6, requires_grad=True)
    head = NormalHead(6, [5, 5], "elu").requires_grad_(False)
    of_feat, own = head.twice(feat)
    assert th.equal(of_feat, own)
    (gradient,) = th.autograd.grad(of_feat.sum(), feat)
    th.testing.assert_close(gradient, th.autograd.grad(head(feat).sum(), feat)[0])


@pytest.mark.parametrize(("learns", "passes"), [(True, 2), (False, 1)])
def test_the_plain_form_passes_twice_for_a_head_that_learns_alone(
    learns: bool, passes: int
) -> None:
    feat, head = th.randn(3, 4, 6, requires_grad=True), NormalHead(6, [5], "elu")
    seen: list[th.Tensor] = []
    head.requires_grad_(learns).out.register_forward_hook(lambda _, __, out: seen.append(out))
    with use("plain"):
        of_feat, own = head.twice(feat, learned=2)
    assert len(seen) == passes
    assert own.requires_grad == learns
    assert th.equal(own, of_feat[:2])


def test_without_a_graph_both_are_the_prediction() -> None:
    feat, head = th.randn(3, CACHED_ROWS, 6), NormalHead(6, [5], "elu")
    with th.no_grad():
        of_feat, own = head.twice(feat)
        th.testing.assert_close(of_feat, head(feat))
    assert th.equal(own, of_feat)
