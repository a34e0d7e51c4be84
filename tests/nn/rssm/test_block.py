"""The recurrent model against a literal form, its independences and its gradients."""

import weakref
from typing import Any

import pytest
import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.dreamer_v3.sizes import Size
from dreamzoo.nn.distributions import categorical_sample, one_hot
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.unroll import CoreTape
from dreamzoo.nn.networks.layers import DenseBlock
from dreamzoo.nn.rssm.block import BlockGRU, BlockRSSM
from dreamzoo.nn.rssm.dynamics import Latent
from tests.nn.widths import of_dynamics

SIZE = Size(units=6, deter=16, classes=3, cnn_depth=2, hidden=5, stoch=4, blocks=4)
ACTION_DIM, TOKEN_DIM = 3, 7


def _randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter, biases and norm scales too, so that none can be forgotten."""
    generator = th.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data.copy_(0.5 * th.randn(p.shape, generator=generator) + (1.0 if p.dim() == 1 else 0.0))
    return module


@pytest.fixture
def rssm() -> BlockRSSM:
    model = BlockRSSM(TOKEN_DIM, ACTION_DIM, **of_dynamics(SIZE))
    _randomised(model)
    return model


def _latent(n: int, seed: int = 1) -> Latent:
    generator = th.Generator().manual_seed(seed)
    index = th.randint(SIZE.classes, (n, SIZE.stoch), generator=generator)
    stoch = F.one_hot(index, SIZE.classes).float()
    return Latent(th.randn(n, SIZE.deter, generator=generator).tanh(), stoch)


def _literal_core(core: BlockGRU, latent: Latent, action: Tensor) -> Tensor:
    """Compute one row and one block at a time, as section 2.1 of the specification reads."""

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean() + 1e-4).sqrt() * weight

    def dense(block: DenseBlock, x: Tensor) -> Tensor:
        return F.silu(norm(block.linear.weight @ x + block.linear.bias, block.norm.weight))

    width = SIZE.deter // SIZE.blocks
    rows = []
    for h, z, a in zip(latent.deter, latent.stoch, action, strict=True):
        a = th.stack([v / max(1.0, abs(float(v.detach()))) for v in a])
        x0, x1 = dense(core.deter_in, h), dense(core.stoch_in, z.flatten())
        shared = th.cat([x0, x1, dense(core.action_in, a)])
        hidden = []
        for k in range(SIZE.blocks):  # the block's own slice of h comes first
            block_input = th.cat([h[width * k : width * (k + 1)], shared])
            hidden.append(block_input @ core.hidden.weight[k])
        scale = core.hidden_norm.get_parameter("0.weight")
        x = F.silu(norm(th.cat(hidden) + core.hidden.bias, scale))
        out = []
        for k in range(SIZE.blocks):
            gates = x[width * k : width * (k + 1)] @ core.gates.weight[k]
            gates = gates + core.gates.bias[3 * width * k : 3 * width * (k + 1)]
            reset, candidate, update = gates[:width], gates[width : 2 * width], gates[2 * width :]
            candidate = th.tanh(th.sigmoid(reset) * candidate)
            update = th.sigmoid(update - 1)
            out.append(update * candidate + (1 - update) * h[width * k : width * (k + 1)])
        rows.append(th.cat(out))
    return th.stack(rows)


def _core(core: BlockGRU, latent: Latent, action: Tensor) -> Tensor:
    """One step as it is computed everywhere."""
    out = th.empty_like(latent.deter)
    with th.no_grad():
        tape = CoreTape(core.weights(), 1, len(out))
        tape.forward(0, latent.deter, latent.stoch.flatten(1), core.embed_action(action), out)
    return out


def test_core_equals_its_literal_form(rssm: BlockRSSM) -> None:
    core = rssm.core.double()
    latent = Latent(*(x.double() for x in _latent(9)))
    action = 2 * th.randn(9, ACTION_DIM, dtype=th.float64)
    th.testing.assert_close(_core(core, latent, action), _literal_core(core, latent, action))


def _plain_observe(
    rssm: BlockRSSM, latent: Latent, actions: Tensor, tokens: Tensor, first: Tensor
) -> list[Tensor]:
    """Filter with autograd's own gradient, one step after the other."""
    generator = th.Generator().manual_seed(5)
    deters: list[Tensor] = []
    stochs: list[Tensor] = []
    posts: list[Tensor] = []
    for t in range(tokens.shape[1]):
        keep = (~first[:, t, None]).double()
        latent = Latent(latent.deter * keep, latent.stoch * keep[..., None])
        deter = _literal_core(rssm.core, latent, actions[:, t] * keep)
        logits = rssm.post_logits(rssm.post_hidden(th.cat([deter, tokens[:, t]], -1)))
        post = 0.99 * logits.unflatten(-1, (SIZE.stoch, SIZE.classes)).softmax(-1)
        post = post + 0.01 / SIZE.classes
        sample = one_hot(categorical_sample(post.detach(), generator), SIZE.classes)
        latent = Latent(deter, sample + post - post.detach())  # the gradient goes straight through
        for parts, part in zip((deters, stochs, posts), (*latent, post), strict=True):
            parts.append(part)
    return [th.stack(parts, dim=1) for parts in (deters, stochs, posts)]


def test_gradients_through_time_equal_those_of_the_plain_loop(rssm: BlockRSSM) -> None:
    """The hand-written backward pass, to float64 precision, for inputs and every weight."""
    rssm = rssm.double()
    actions, tokens = _sequence(3, 9)
    first = th.zeros(3, 9, dtype=th.bool)
    first[1, 4], first[2, 8] = True, True
    inputs = [x.double().requires_grad_() for x in (*_latent(3), actions, tokens)]
    deter, stoch, actions, tokens = inputs
    noise = [th.randn(3, 9, *shape, dtype=th.float64) for shape in ((16,), (4, 3), (4, 3))]
    generator = th.Generator().manual_seed(5)
    states, belief = rssm.observe(Latent(deter, stoch), actions, tokens, first, generator)
    fast = [*states, belief.post.probs]
    slow = _plain_observe(rssm, Latent(deter, stoch), actions, tokens, first)
    weights = {n: p for n, p in rssm.named_parameters() if "prior" not in n}
    results = []
    for outputs in (fast, slow):
        loss = th.stack([(x * n).sum() for x, n in zip(outputs, noise, strict=True)]).sum()
        results.append(th.autograd.grad(loss, [*inputs, *weights.values()]))
    names = ["deter", "stoch", "actions", "tokens", *weights]
    for name, one, other in zip(["deter", "stoch", "post"], fast, slow, strict=True):
        th.testing.assert_close(one, other, msg=name)
    for name, one, other in zip(names, *results, strict=True):
        assert other.abs().max() > 0, name
        th.testing.assert_close(one, other, msg=name)


def test_a_filtered_sequence_is_freed_with_its_result(rssm: BlockRSSM) -> None:
    actions, tokens = _sequence(3, 4)
    states, belief = rssm.observe(_latent(3), actions, tokens, th.zeros(3, 4, dtype=th.bool))
    assert states.deter.grad_fn is not None
    node: Any = states.deter.grad_fn.next_functions[0][0]  # behind the transposition
    freed = weakref.ref(node.tape[0])
    del node
    (states.deter.sum() + belief.post.probs.sum()).backward()
    assert freed() is not None
    del states, belief
    assert freed() is None


def test_filtering_gives_the_same_with_and_without_gradient(rssm: BlockRSSM) -> None:
    actions, tokens = _sequence(3, 4)
    is_first = th.rand(3, 4) < 0.3

    def run() -> tuple[th.Tensor, ...]:
        generator = th.Generator().manual_seed(0)
        states, belief = rssm.observe(_latent(3), actions, tokens, is_first, generator)
        return *states, belief.post.probs

    with_gradient = run()
    with th.no_grad():
        without = run()
    for expected, found in zip(with_gradient, without, strict=True):
        assert expected.requires_grad
        assert not found.requires_grad
        th.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", ["in place", "data", "load"])
def test_a_kept_layout_follows_every_change_of_the_weights(rssm: BlockRSSM, change: str) -> None:
    core, latent, action = rssm.core, _latent(3), th.randn(3, ACTION_DIM)
    before = _core(core, latent, action)
    with th.no_grad():
        assert core.weights() is core.weights()
        if change == "in place":
            core.hidden.weight.mul_(2)
        elif change == "data":
            core.hidden.weight.data = 2 * core.hidden.weight.data
        else:
            core.load_state_dict({k: 2 * v for k, v in core.state_dict().items()})
    after = _core(core, latent, action)
    assert not th.equal(after, before)
    th.testing.assert_close(after, _literal_core(core, latent, action), rtol=1e-4, atol=1e-5)


def test_core_of_nothing_is_a_constant(rssm: BlockRSSM) -> None:
    """Checklist D4: at an episode start h is core(0, 0, 0), the same in every row."""
    zero = th.zeros(3, ACTION_DIM)
    out = _core(rssm.core, rssm.initial(3), zero)
    assert th.equal(out[0], out[1])
    assert out.abs().max() > 0
    fresh = BlockRSSM(TOKEN_DIM, ACTION_DIM, **of_dynamics(SIZE))  # zero biases: zero stays zero
    out = _core(fresh.core, fresh.initial(1), zero[:1])
    assert not out.any()


@pytest.mark.parametrize("block", range(SIZE.blocks))
def test_blocks_are_independent_but_for_embedding_and_norm(
    rssm: BlockRSSM, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checklist D4."""

    def without_norm(dense: Tensor, own: Tensor, scale: Tensor, out: Tensor) -> None:
        out.copy_(F.silu(dense.unflatten(1, (SIZE.blocks, -1)).transpose(0, 1) + own))

    monkeypatch.setattr(kernels, "block_norm_silu", without_norm)
    core = rssm.core
    core.deter_in.linear.weight.data.zero_()
    action, latent = th.randn(2, ACTION_DIM), _latent(2)
    width = SIZE.deter // SIZE.blocks
    moved = latent.deter.clone()
    moved[:, width * block : width * (block + 1)] += 0.3
    change = _core(core, latent, action) - _core(core, Latent(moved, latent.stoch), action)
    changed = change.abs().view(2, SIZE.blocks, width).sum((0, 2)) > 1e-6
    assert changed.tolist() == [k == block for k in range(SIZE.blocks)]


def test_update_gate_starts_mostly_closed() -> None:
    """Appendix A8: sigmoid(-1) = 0.268941 weights the candidate, the rest keeps h."""
    core = BlockRSSM(TOKEN_DIM, ACTION_DIM, **of_dynamics(SIZE)).core
    core.gates.weight.data.zero_()
    latent = _latent(2)
    out = _core(core, latent, th.zeros(2, ACTION_DIM))
    th.testing.assert_close(out, (1 - 0.268941) * latent.deter)


def test_large_actions_are_scaled_to_one(rssm: BlockRSSM) -> None:
    action = th.tensor([[4.0, -0.5, -3.0]])
    expected = rssm.core.embed_action(th.tensor([[1.0, -0.5, -1.0]]))
    th.testing.assert_close(rssm.core.embed_action(action), expected)


def _sequence(batch: int, length: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    generator = th.Generator().manual_seed(seed)
    actions = th.randn(batch, length, ACTION_DIM, generator=generator)
    return actions, th.randn(batch, length, TOKEN_DIM, generator=generator)


def test_sequence_equals_step_by_step(rssm: BlockRSSM) -> None:
    actions, tokens = _sequence(3, 6)
    first = th.zeros(3, 6, dtype=th.bool)
    first[1, 2] = first[2, 0] = True
    states, belief = rssm.observe(_latent(3), actions, tokens, first, mode=True)
    latent = _latent(3)
    for t in range(6):
        one = slice(t, t + 1)
        step, seen = rssm.observe(latent, actions[:, one], tokens[:, one], first[:, one], mode=True)
        th.testing.assert_close(step.deter[:, 0], states.deter[:, t])
        th.testing.assert_close(step.stoch[:, 0], states.stoch[:, t])
        th.testing.assert_close(seen.post.probs[:, 0], belief.post.probs[:, t])
        latent = Latent(step.deter[:, 0], step.stoch[:, 0])


def test_sequence_with_a_seed_equals_step_by_step_with_the_same_stream(rssm: BlockRSSM) -> None:
    actions, tokens = _sequence(2, 5)
    first = th.zeros(2, 5, dtype=th.bool)
    states, _ = rssm.observe(_latent(2), actions, tokens, first, th.Generator().manual_seed(0))
    generator, latent = th.Generator().manual_seed(0), _latent(2)
    for t in range(5):
        one = slice(t, t + 1)
        step, _ = rssm.observe(latent, actions[:, one], tokens[:, one], first[:, one], generator)
        latent = Latent(step.deter[:, 0], step.stoch[:, 0])
        th.testing.assert_close(latent.stoch, states.stoch[:, t])


def test_posterior_reads_h_after_the_action_and_the_tokens(rssm: BlockRSSM) -> None:
    actions, tokens = _sequence(4, 1)
    first = th.zeros(4, 1, dtype=th.bool)
    states, belief = rssm.observe(_latent(4), actions, tokens, first)
    deter = _literal_core(rssm.core, _latent(4), actions[:, 0])
    th.testing.assert_close(states.deter[:, 0], deter, rtol=1e-4, atol=1e-5)
    logits = rssm.post_logits(rssm.post_hidden(th.cat([deter, tokens[:, 0]], -1)))
    expected = 0.99 * logits.view(4, SIZE.stoch, SIZE.classes).softmax(-1) + 0.01 / SIZE.classes
    th.testing.assert_close(belief.post.probs[:, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", [0, 3])
def test_nothing_before_an_episode_start_matters(rssm: BlockRSSM, start: int) -> None:
    """Checklist D5 and pitfall 9: state *and* action are zeroed, inside sequences, on this step."""
    actions, tokens = _sequence(2, 6)
    first = th.zeros(2, 6, dtype=th.bool)
    first[:, start] = True
    base, _ = rssm.observe(_latent(2), actions, tokens, first, mode=True)
    changed_actions, changed_tokens = actions.clone(), tokens.clone()
    changed_actions[:, : start + 1] += 1.0
    changed_tokens[:, :start] -= 1.0
    other, _ = rssm.observe(_latent(2, seed=9), changed_actions, changed_tokens, first, mode=True)
    assert th.equal(base.deter[:, start:], other.deter[:, start:])
    if start:  # one step early would have cut here already
        assert not th.equal(base.deter[:, start - 1], other.deter[:, start - 1])


@pytest.mark.parametrize("what", ["latent", "action", "token"])
def test_without_an_episode_start_the_past_matters(rssm: BlockRSSM, what: str) -> None:
    """Checklist D5."""
    actions, tokens = _sequence(2, 4)
    first = th.zeros(2, 4, dtype=th.bool)
    base, _ = rssm.observe(_latent(2), actions, tokens, first, mode=True)
    latent = _latent(2, seed=9) if what == "latent" else _latent(2)
    actions[:, 0] += 1.0 if what == "action" else 0.0
    tokens[:, 0] += 9.0 if what == "token" else 0.0
    other, _ = rssm.observe(latent, actions, tokens, first, mode=True)
    assert not th.allclose(base.deter[:, -1], other.deter[:, -1])


def test_imagination_samples_the_prior_of_the_next_h(rssm: BlockRSSM) -> None:
    action = th.randn(5, ACTION_DIM)
    step = rssm.imagine_step(_latent(5), action, mode=True)
    deter = _literal_core(rssm.core, _latent(5), action)
    th.testing.assert_close(step.deter, deter, rtol=1e-4, atol=1e-5)
    hidden = rssm.prior_hidden(deter)
    logits = rssm.prior_logits(hidden).view(5, SIZE.stoch, SIZE.classes)
    assert th.equal(step.stoch.argmax(-1), logits.argmax(-1))
    probs = 0.99 * logits.softmax(-1) + 0.01 / SIZE.classes
    th.testing.assert_close(rssm.prior(deter).probs, probs, rtol=1e-4, atol=1e-5)


def _plain_imagine(rssm: BlockRSSM, latent: Latent, action: Tensor, draws: Tensor | None) -> Latent:
    """Imagine one step with autograd's own gradient, straight through the sample."""
    deter = _literal_core(rssm.core, latent, action)
    logits = rssm.prior_logits(rssm.prior_hidden(deter))
    probs = logits.unflatten(-1, (SIZE.stoch, SIZE.classes)).softmax(-1)
    probs = 0.99 * probs + 0.01 / SIZE.classes
    index = probs.argmax(-1) if draws is None else (probs.cumsum(-1) <= draws[..., None]).sum(-1)
    sample = F.one_hot(index, SIZE.classes).double()
    return Latent(deter, sample + probs - probs.detach())


@pytest.mark.parametrize("mode", [False, True])
def test_gradients_through_imagination_equal_those_of_the_plain_loop(
    rssm: BlockRSSM, mode: bool
) -> None:
    """Three steps, to float64 precision, for states, actions and every weight."""
    rssm = rssm.double()
    actions = 2 * th.randn(3, 5, ACTION_DIM, dtype=th.float64)
    deter, stoch, actions = (x.double().requires_grad_() for x in (*_latent(5), actions))
    fast, slow = Latent(deter, stoch), Latent(deter, stoch)
    one, other = (th.Generator().manual_seed(5) for _ in range(2))
    for action in actions:
        fast = rssm.imagine_step(fast, action, one, mode=mode)
        draws = None if mode else th.rand(5, SIZE.stoch, generator=other)
        slow = _plain_imagine(rssm, slow, action, draws)
    weights = {n: p for n, p in rssm.named_parameters() if "post" not in n}
    noise = [th.randn_like(x) for x in fast]
    results = []
    for outputs in (fast, slow):
        loss = th.stack([(x * n).sum() for x, n in zip(outputs, noise, strict=True)]).sum()
        results.append(th.autograd.grad(loss, [deter, stoch, actions, *weights.values()]))
    for part, same in zip(fast, slow, strict=True):
        th.testing.assert_close(part, same)
    for name, one_, other_ in zip(["deter", "stoch", "actions", *weights], *results, strict=True):
        assert other_.abs().max() > 0, name
        th.testing.assert_close(one_, other_, msg=name)


def test_imagination_has_a_true_gradient_where_nothing_is_drawn(rssm: BlockRSSM) -> None:
    rssm = rssm.double()
    inputs = [x.double().requires_grad_() for x in (*_latent(2), th.rand(2, ACTION_DIM))]
    th.autograd.gradcheck(lambda h, z, a: rssm.imagine_step(Latent(h, z), a).deter, inputs)


@pytest.mark.parametrize("mode", [False, True])
def test_imagination_gives_the_same_with_and_without_gradient(rssm: BlockRSSM, mode: bool) -> None:
    action = 2 * th.randn(50, ACTION_DIM)
    slow = rssm.imagine_step(_latent(50), action, th.Generator().manual_seed(3), mode=mode)
    with th.no_grad():
        fast = rssm.imagine_step(_latent(50), action, th.Generator().manual_seed(3), mode=mode)
    for one, other in zip(slow, fast, strict=True):
        assert one.requires_grad
        assert not other.requires_grad
        th.testing.assert_close(one.detach(), other)
    assert th.equal(slow.stoch.detach(), fast.stoch)  # exactly one-hot


def test_features_put_deter_first() -> None:
    latent = _latent(2)
    assert th.equal(latent.feat[:, : SIZE.deter], latent.deter)
    assert th.equal(latent.feat[:, SIZE.deter :], latent.stoch.flatten(1))
