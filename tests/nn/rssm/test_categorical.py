"""DreamerV2's state-space model against its plain form: layers, filtering, gradients, resets."""

from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.beliefs import Categorical, Gaussian
from dreamzoo.nn.codes import ExpectedCodes, NearestCodes
from dreamzoo.nn.estimators import gumbel_noise
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.nn.rssm.kinds import make_latents
from dreamzoo.nn.rssm.latents import NormalLatents, OneHotLatents

TOKENS, ACTIONS, DETER, HIDDEN = 5, 2, 6, 7
KINDS: dict[Any, dict[str, Any]] = {
    "categorical": {},
    "gaussian": {},
    "gumbel": {"temperature": 0.7},
    "st_gumbel": {"temperature": 0.7},
    "vq": {"code_dim": 2},
}


def _make(kind: Any = "categorical", **kwargs: Any) -> LayerNormRSSM:
    latents = make_latents(kind, 3, 4, **KINDS[kind])
    rssm = LayerNormRSSM(TOKENS, ACTIONS, DETER, HIDDEN, latents, **kwargs).double()
    for p in rssm.parameters():
        p.data += 0.3 * th.randn_like(p)
    return rssm


def _sequence(batch: int, length: int) -> tuple[Tensor, Tensor]:
    return th.randn(batch, length, ACTIONS).double(), th.randn(batch, length, TOKENS).double()


def _latent(rssm: LayerNormRSSM, n: int) -> Latent:
    stoch = th.randn(n, rssm.stoch, rssm.classes).double()
    return Latent(th.randn(n, DETER).double(), stoch)


def _elu(x: Tensor) -> Tensor:
    return th.where(x > 0, x, x.exp() - 1)


def _belief(rssm: LayerNormRSSM, head: str, known: Tensor) -> Tensor:
    """What a head says, without the modules' own forward functions."""
    w = dict(rssm.named_parameters())
    hidden = _elu(known @ w[f"{head}.0.weight"].t() + w[f"{head}.0.bias"])
    return hidden @ w[f"{head}.2.weight"].t() + w[f"{head}.2.bias"]


def _draw(
    rssm: LayerNormRSSM, kind: str, raw: Tensor, generator: th.Generator, *, seen: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Draw what a head says, latent by latent; return what it says, too."""
    if kind == "gaussian":
        mean, std = raw[:, :3], 2 / (1 + (-raw[:, 3:] / 2).exp()) + 0.1
        noise = th.randn(len(raw), 3, generator=generator)
        return (mean + std * noise)[..., None], (mean, std)
    if kind == "vq" and seen:
        return _nearest(rssm, raw.view(-1, 3, 2))
    logits = raw.view(-1, 3, 4)
    probs = logits.exp() / logits.exp().sum(-1, keepdim=True)
    if "gumbel" in kind:
        noise = gumbel_noise(probs, generator)
        powers = ((logits + noise) / 0.7).exp()
        soft = powers / powers.sum(-1, keepdim=True)
        largest = soft == soft.max(-1, keepdim=True).values
        hard = largest.double() + soft - soft.detach()
        return soft if kind == "gumbel" else hard, (probs, probs.log())
    draws = th.rand(len(raw), 3, generator=generator)
    sample = th.zeros_like(probs)
    for row, latent in ((r, k) for r in range(len(raw)) for k in range(3)):
        totals = [
            float(probs[row, latent, : i + 1].detach().sum()) for i in range(3)
        ]  # the last: 1
        index = sum(total <= float(draws[row, latent]) for total in totals)
        sample[row, latent, index] = 1.0
    sample = sample + probs - probs.detach()
    if kind == "vq":
        codes: Any = rssm.latents.codebook
        sample = th.stack([sample[:, s] @ codes.codes[s] for s in range(3)], 1)
    return sample, (probs, probs.log())


def _nearest(rssm: LayerNormRSSM, vectors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    codes: Any = rssm.latents.codebook
    found = vectors.detach().clone()
    for row, latent in ((r, k) for r in range(len(vectors)) for k in range(3)):
        far = [float((c - found[row, latent]).square().sum()) for c in codes.codes[latent]]
        found[row, latent] = codes.codes[latent, far.index(min(far))]
    return found + vectors - vectors.detach(), (vectors, found)


def _numbers(part: Any) -> tuple[Tensor, ...]:
    """What states and beliefs consist of, and can have a gradient."""
    if isinstance(part, NearestCodes):
        return part.vectors, part.codes
    if isinstance(part, ExpectedCodes):
        part = part.classes
    return tuple(part)


def _plain_observe(
    rssm: LayerNormRSSM, kind: str, latent: Latent, actions: Tensor, tokens: Tensor, first: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Filter step by step; nothing is computed ahead."""
    generator = th.Generator().manual_seed(5)
    w = dict(rssm.named_parameters())
    deter, stoch = latent
    states: list[tuple[Tensor, ...]] = []
    posts, priors = [], []
    for t in range(first.shape[1]):
        keep = (~first[:, t, None]).double()
        deter, flat, action = deter * keep, stoch.flatten(1) * keep, actions[:, t] * keep
        x = th.cat([flat, action], 1) @ w["input.0.weight"].t() + w["input.0.bias"]
        deter = rssm.cell(_elu(x), deter)
        raw = _belief(rssm, "post_head", th.cat([deter, tokens[:, t]], 1))
        stoch, post = _draw(rssm, kind, raw, generator, seen=True)
        _, prior = _draw(rssm, kind, _belief(rssm, "prior_head", deter), th.Generator())
        states.append((deter, stoch))
        posts.append(post)
        priors.append(prior)
    joined = ([th.stack(p, 1) for p in zip(*x, strict=True)] for x in (states, posts, priors))
    a, b, c = joined
    return a, b, c


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer_norm", [True, False])
def test_filtering_and_its_gradients_equal_the_plain_loop(kind: str, layer_norm: bool) -> None:
    rssm = _make(kind, layer_norm=layer_norm)
    first = th.zeros(4, 6, dtype=th.bool)
    first[1, 3] = first[2, 0] = first[3, 5] = True
    inputs = [x.requires_grad_() for x in (*_latent(rssm, 4), *_sequence(4, 6))]
    deter, stoch, actions, tokens = inputs
    states, belief = rssm.observe(
        Latent(deter, stoch), actions, tokens, first, th.Generator().manual_seed(5)
    )
    slow = _plain_observe(rssm, kind, Latent(deter, stoch), actions, tokens, first)
    for found, expected in zip((states, belief.post, belief.prior), slow, strict=True):
        for ours, theirs in zip(_numbers(found), expected, strict=True):
            th.testing.assert_close(ours, theirs)
    weights = dict(rssm.named_parameters())
    results = []
    noise = [[th.randn_like(x) for x in part] for part in slow]
    for outputs in ((states, belief.post, belief.prior), slow):
        pairs = zip(map(_numbers, outputs), noise, strict=True)
        terms = [(x * n).sum() for part, ns in pairs for x, n in zip(part, ns, strict=True)]
        results.append(th.autograd.grad(th.stack(terms).sum(), [*inputs, *weights.values()]))
    names = ["deter", "stoch", "actions", "tokens", *weights]
    for name, ours, theirs in zip(names, *results, strict=True):
        assert theirs.abs().max() > 0, name
        th.testing.assert_close(ours, theirs, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_imagination_draws_from_the_prior_of_the_next_memory(kind: str) -> None:
    """Three steps with a graph, values and gradients."""
    rssm = _make(kind)
    latent, actions = _latent(rssm, 4), th.randn(3, 4, ACTIONS).double().requires_grad_()
    fast = slow = latent
    one, other = (th.Generator().manual_seed(3) for _ in range(2))
    w = dict(rssm.named_parameters())
    for action in actions:
        fast = rssm.imagine_step(fast, action, one)
        known = th.cat([slow.stoch.flatten(1), action], 1)
        deter = rssm.cell(_elu(known @ w["input.0.weight"].t() + w["input.0.bias"]), slow.deter)
        slow = Latent(deter, _draw(rssm, kind, _belief(rssm, "prior_head", deter), other)[0])
    noise = [th.randn_like(x) for x in slow]
    sources = [actions, *(p for name, p in w.items() if "post" not in name)]
    results = []
    for out in (fast, slow):
        loss = th.stack([(x * n).sum() for x, n in zip(out, noise, strict=True)]).sum()
        results.append(th.autograd.grad(loss, sources))
    for ours, theirs in zip((*fast, *results[0]), (*slow, *results[1]), strict=True):
        th.testing.assert_close(ours, theirs)
        assert theirs.abs().max() > 0


def test_actions_are_masked_after_they_were_encoded() -> None:
    """Pitfall 13: a start zeroes the latent *and* the previous action, within a row too."""
    rssm = _make()
    first = th.zeros(2, 6, dtype=th.bool)
    first[:, 3] = True
    actions, tokens = _sequence(2, 6)
    base, _ = rssm.observe(_latent(rssm, 2), actions, tokens, first, mode=True)
    changed_actions, changed_tokens = actions.clone(), tokens.clone()
    changed_actions[:, :4] += 1.0
    changed_tokens[:, :3] -= 1.0
    other, _ = rssm.observe(_latent(rssm, 2), changed_actions, changed_tokens, first, mode=True)
    for ours, theirs in zip(base, other, strict=True):
        assert th.equal(ours[:, 3:], theirs[:, 3:])
    assert not th.equal(base.deter[:, 2], other.deter[:, 2])


@pytest.mark.parametrize("what", ["latent", "action", "token"])
def test_without_an_episode_start_the_past_matters(what: str) -> None:
    rssm = _make()
    actions, tokens = _sequence(2, 4)
    first, latent = th.zeros(2, 4, dtype=th.bool), _latent(rssm, 2)
    base, _ = rssm.observe(latent, actions, tokens, first, mode=True)
    if what == "latent":
        latent = _latent(rssm, 2)
    actions[:, 0] += 1.0 if what == "action" else 0.0
    tokens[:, 0] += 9.0 if what == "token" else 0.0
    other, _ = rssm.observe(latent, actions, tokens, first, mode=True)
    assert not th.allclose(base.deter[:, -1], other.deter[:, -1])


@pytest.mark.parametrize("kind", KINDS)
def test_sequence_equals_step_by_step(kind: str) -> None:
    rssm = _make(kind)
    actions, tokens = _sequence(3, 5)
    first = th.zeros(3, 5, dtype=th.bool)
    first[1, 2] = True
    start = _latent(rssm, 3)
    states, _ = rssm.observe(start, actions, tokens, first, th.Generator().manual_seed(0))
    generator, latent = th.Generator().manual_seed(0), start
    for t in range(5):
        one = slice(t, t + 1)
        step, _ = rssm.observe(latent, actions[:, one], tokens[:, one], first[:, one], generator)
        latent = Latent(*(part[:, 0] for part in step))
        for part, whole in zip(latent, states, strict=True):
            th.testing.assert_close(part, whole[:, t])


def test_nothing_is_mixed_into_the_categoricals() -> None:
    """The uniform share came with DreamerV3: here a probability may be as small as it likes."""
    belief = OneHotLatents(1, 3).belief(th.tensor([[0.0, -60.0, -300.0]]))
    assert isinstance(belief, Categorical)
    assert belief.probs[0, 0, 1] < 1e-20
    uniform = OneHotLatents(1, 3).belief(th.zeros(1, 3))
    kl = belief.kl(uniform)
    assert float(kl) == pytest.approx(1.0986, abs=1e-3)
    assert float(uniform.kl(belief)) == pytest.approx(120 - 1.0986, abs=1e-2)  # finite


def test_deviation_of_normal_latents() -> None:
    """``sigmoid2``: 1.1 at zero, between 0.1 and 2.1."""
    raw = th.tensor([[1.0, 2.0, 3.0, 0.0, -100.0, 100.0]])
    belief = NormalLatents(3).belief(raw)
    assert isinstance(belief, Gaussian)
    th.testing.assert_close(belief.mean, raw[:, :3])
    th.testing.assert_close(belief.std, th.tensor([[1.1, 0.1, 2.1]]))


def test_entropy_is_that_of_the_prior() -> None:
    for kind in KINDS:
        rssm = _make(kind)
        latent = _latent(rssm, 4)
        raw = _belief(rssm, "prior_head", latent.deter)
        expected = rssm.latents.expectation(raw).entropy()
        assert expected.any()
        th.testing.assert_close(rssm.entropy(latent), expected)


def test_nothing_precedes_an_episode() -> None:
    rssm = _make("gaussian")
    latent = rssm.initial(2)
    assert latent.feat.shape == (2, DETER + 3)
    assert not latent.feat.any()
