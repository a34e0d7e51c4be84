"""Latents by the Gumbel-softmax, and kinds of latents by name."""

import math
import re
from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.estimators import gumbel_noise
from dreamzoo.nn.rssm.kinds import make_latents
from dreamzoo.nn.rssm.latents import OneHotLatents
from dreamzoo.nn.rssm.relaxed import GumbelLatents

N, S, C = 4, 2, 3


def raw_numbers() -> Tensor:
    return th.randn(N, S * C, generator=th.Generator().manual_seed(0)).double().requires_grad_()


def plain(raw: Tensor, temperature: float) -> Tensor:
    """The relaxed sample, number by number."""
    noise = gumbel_noise(raw.view(N, S, C), th.Generator().manual_seed(1))
    rows = []
    for row in range(N):
        for s in range(S):
            logits = raw[row, s * C : (s + 1) * C]
            powers = [((logits[c] + noise[row, s, c]) / temperature).exp() for c in range(C)]
            total = sum(powers, th.zeros(()).double())
            rows.append(th.stack([power / total for power in powers]))
    return th.stack(rows).view(N, S, C)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_and_gradients_equal_the_plain_formula(hard: bool, temperature: float) -> None:
    latents, raw = GumbelLatents(S, C, temperature, hard=hard).double(), raw_numbers()
    drawn = latents.draw(latents.belief(raw), th.Generator().manual_seed(1), mode=False)
    soft = plain(raw, temperature)
    if hard:
        assert th.equal(drawn.detach().argmax(-1), soft.argmax(-1))
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
    else:
        th.testing.assert_close(drawn, soft)
    weight = th.randn(N, S, C).double()
    results = [th.autograd.grad((weight * x).sum(), raw)[0] for x in (drawn, soft)]
    assert results[1].any()
    th.testing.assert_close(*results)


def test_the_relaxed_draw_moves_smoothly() -> None:
    """Its gradient is a true one, against finite differences."""
    latents = GumbelLatents(S, C, 0.7).double()

    def draw(raw: Tensor) -> Tensor:
        return latents.draw(latents.belief(raw), th.Generator().manual_seed(1), mode=False)

    th.autograd.gradcheck(draw, raw_numbers())


@pytest.mark.parametrize("hard", [False, True])
def test_classes_are_as_frequent_as_they_are_likely(hard: bool) -> None:
    latents = GumbelLatents(1, C, 0.5, hard=hard)
    raw = th.tensor([0.0, 1.0, -1.0])
    belief = latents.belief(raw.expand(20_000, C))
    drawn = latents.draw(belief, th.Generator().manual_seed(2), mode=False)
    counts = th.nn.functional.one_hot(drawn.argmax(-1), C).float().mean((0, 1))
    th.testing.assert_close(counts, raw.softmax(-1), atol=0.015, rtol=0.0)


@pytest.mark.parametrize("hard", [False, True])
def test_the_most_likely_latents_are_one_hot_and_need_no_noise(hard: bool) -> None:
    latents, raw = GumbelLatents(S, C, hard=hard).double(), raw_numbers()
    generator = th.Generator().manual_seed(1)
    before = generator.get_state()
    mode = latents.draw(latents.belief(raw), generator, mode=True)
    assert th.equal(generator.get_state(), before)
    assert th.equal(mode.detach(), th.nn.functional.one_hot(raw.view(N, S, C).argmax(-1), C))


def test_divergences_are_those_of_the_categoricals() -> None:
    """And not of the density of relaxed samples, which has no bound."""
    relaxed, plain_ones = GumbelLatents(S, C), OneHotLatents(S, C)
    post = raw_numbers().detach()
    prior = post.flip(-1)
    found = relaxed.belief(post).kl(relaxed.expectation(prior))
    assert th.equal(found, plain_ones.belief(post).kl(plain_ones.belief(prior)))
    p, q = post.view(N, S, C).softmax(-1), prior.view(N, S, C).softmax(-1)
    for row in range(N):
        total = 0.0
        for i in range(C):
            for j in range(C):
                joint = float(p[row, 0, i] * p[row, 1, j])
                total += joint * math.log(joint / float(q[row, 0, i] * q[row, 1, j]))
        assert float(found[row]) == pytest.approx(total)


def test_the_temperature_moves_along_its_line_and_is_saved() -> None:
    latents = GumbelLatents(S, C, temperature=(1.0, 0.5, 100))
    steps = {0: 1.0, 50: 0.75, 100: 0.5, 1_000: 0.5}
    for step, temperature in steps.items():
        latents.move(step)
        assert float(latents.temperature) == temperature
        assert latents.losses(latents.belief(th.zeros(N, S * C)))[1] == {
            "temperature": latents.temperature
        }
    again = GumbelLatents(S, C, temperature=(1.0, 0.5, 100))
    assert float(again.temperature) == 1.0
    again.load_state_dict(latents.state_dict())
    assert float(again.temperature) == 0.5


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("gumbel", {"temperature": 0.0}, "latents='gumbel': temperature=0.0 must be at least 0.01"),
        ("st_gumbel", {"temperature": (1.0, 0.5)}, "from, to, and the steps"),
        ("st_gumbel", {"hard": False}, "hard, and latents='st_gumbel' takes temperature."),
        ("categorical", {"temperature": 1.0}, "temperature, and latents='categorical' takes none."),
        ("gaussian", {"decay": 0.9}, "decay, and latents='gaussian' takes none."),
        ("vq", {"temperature": 1.0}, "takes code_dim, commitment, decay, revive."),
        ("vq", {"code_dim": 0}, "latents='vq': code_dim=0 must be at least 1"),
        ("vq", {"decay": 1.5}, "latents='vq': decay=1.5 must be between 0 and 1"),
        ("vq", {"revive": None}, "latents='vq': revive=None must be between 0 and 1"),
        ("vq", {"commitment": -1.0}, "latents='vq': commitment=-1.0 must be at least 0"),
    ],
)
def test_settings_of_another_kind_or_without_sense_are_refused(
    kind: Any, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_latents(kind, S, C, **kwargs)


def test_kinds_are_made_with_their_settings() -> None:
    assert make_latents("gaussian", S, C).classes == 1
    relaxed: Any
    for relaxed, hard in (
        (make_latents("gumbel", S, C, temperature=2), False),
        (make_latents("st_gumbel", S, C, temperature=2), True),
    ):
        assert relaxed.one_hot == hard
        assert float(relaxed.temperature) == 2.0
    codes: Any = make_latents("vq", S, C, code_dim=5, decay=0.5, revive=0.0, commitment=2.0)
    assert (codes.stoch, codes.classes, codes.outputs, codes.post_outputs) == (S, 5, S * C, S * 5)
    assert codes.weights == {"commitment": 2.0}
    book = codes.codebook
    assert (book.decay, book.revive, tuple(book.codes.shape)) == (0.5, 0.0, (S, C, 5))
