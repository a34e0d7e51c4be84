"""The memory-based predictor: what it expects, what it corrects, what it writes, and when."""

from typing import Any

import pytest
import torch as th
from torch import Tensor, nn

from dreamzoo.nn.beliefs import Gaussian
from dreamzoo.nn.memory import MemoryBasedPredictor, PredictorState
from dreamzoo.nn.memory.predictor import told_reward
from dreamzoo.nn.state import leaves, select

E, A, Z, N = 3, 2, 4, 2


def _make(trained: bool = True, **kwargs: Any) -> Any:
    """Make a predictor whose weights, if ``trained``, are not those of a beginner."""
    th.manual_seed(0)
    defaults: dict[str, Any] = dict(latents=Z, units=5, heads=2, rows=6, widths=(7,))
    predictor = MemoryBasedPredictor(E, A, **{**defaults, **kwargs})
    if trained:
        with th.no_grad():
            for p in predictor.parameters():
                p.add_(0.4 * th.randn_like(p))
    return predictor


class _Given:
    """What a predictor sees in T steps."""

    def __init__(self, steps: int, n: int = N, seed: int = 1) -> None:
        generator = th.Generator().manual_seed(seed)
        self.actions, self.tokens, noise = (
            th.randn(n, steps, width, generator=generator) for width in (A, E, Z)
        )
        self.noise = [*noise.unbind(1)]
        self.rewards = th.randn(n, steps, generator=generator)
        self.is_first = th.zeros(n, steps, dtype=th.bool)

    def __iter__(self) -> Any:
        return iter((self.actions, self.tokens, self.is_first, self.noise, self.rewards))


def _same(one: Any, other: Any) -> bool:
    return all(th.equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


# ------------------------------------------------------------------ beliefs


def test_at_first_nothing_is_believed_but_what_was_expected() -> None:
    predictor, given = _make(trained=False), _Given(5)
    for step in predictor.filter(predictor.initial(N), *given):
        assert not step.post.kl(step.prior).detach().abs().gt(1e-6).any()
    trained = _make()
    for step in trained.filter(trained.initial(N), *given):
        assert (step.post.kl(step.prior) > 1e-2).all()


def test_the_first_step_of_an_episode_expects_what_follows_from_nothing() -> None:
    predictor, given = _make(), _Given(5)
    given.is_first[0, 3] = True
    steps = predictor.filter(predictor.initial(N), *given)
    mean, log_variance = predictor.prior(th.zeros(1, predictor.reader.context_dim)).chunk(2, -1)
    for prior in (select(steps[0].prior, [0]), select(steps[3].prior, [0])):
        th.testing.assert_close(prior, Gaussian(mean, (0.5 * log_variance).exp()))
    assert not th.allclose(steps[3].prior.mean[1], mean[0])


def test_corrections_are_added_to_mean_and_log_variance() -> None:
    """Pitfall 5: to the parameters, not to samples; and variances, not deviations."""
    predictor, given = _make(), _Given(1)
    state, prior = predictor.expect(predictor.initial(N), given.actions[:, 0])
    seen = [given.tokens[:, 0], th.zeros(N, 1 + A), state.reading.context]
    parameters = th.cat([prior.mean, prior.std.square().log()], -1)
    added = predictor.correction(th.cat([*seen, parameters], -1))
    mean, log_variance = (parameters + added).chunk(2, -1)
    step = predictor.filter(predictor.initial(N), *given)[0]
    th.testing.assert_close(step.post.mean, mean)
    th.testing.assert_close(step.post.std.square(), log_variance.exp())
    th.testing.assert_close(step.z, mean + (0.5 * log_variance).exp() * given.noise[0])


@pytest.mark.parametrize(("log_variance", "bound"), [(50.0, 4.0), (-50.0, -10.0)])
def test_variances_have_bounds(log_variance: float, bound: float) -> None:
    predictor, given = _make(), _Given(1)
    for net in (predictor.prior, predictor.correction):
        last = net[-1]
        assert isinstance(last, nn.Linear)
        with th.no_grad():
            last.bias[Z:] = log_variance
    (step,) = predictor.filter(predictor.initial(N), *given)
    expected = th.full((N, Z), bound).div(2).exp()
    th.testing.assert_close(step.prior.std, expected)
    th.testing.assert_close(step.post.std, expected)
    assert th.isfinite(step.post.kl(step.prior)).all()


# ------------------------------------------------------------------ what is seen


@pytest.mark.parametrize("part", ["actions", "rewards"])
def test_what_came_before_an_episode_is_not_looked_at(part: str) -> None:
    """Pitfall 8, and that actions and rewards are looked at everywhere else."""
    predictor, given, other = _make(), _Given(4), _Given(4)
    for each in (given, other):
        each.is_first[:, 2] = True
    getattr(other, part)[:, [0, 2]] = 9.0  # before the first steps of episodes
    one, two = (predictor.filter(predictor.initial(N), *x) for x in (given, other))
    assert all(_same(a, b) for a, b in zip(one, two, strict=True))
    getattr(other, part)[:, 3] = 9.0
    three = predictor.filter(predictor.initial(N), *other)
    assert not th.equal(one[3].post.mean, three[3].post.mean)
    assert th.equal(one[3].prior.mean, three[3].prior.mean) == (part == "rewards")


def test_the_correction_sees_the_action_and_the_reward_before_it() -> None:
    """Not only through what the LSTM makes of the action."""
    predictor, given = _make(), _Given(2)
    state = predictor.filter(predictor.initial(N), *given)[-1].state
    expected, prior = predictor.expect(state, given.actions[:, 1])
    seen = [given.tokens[:, 1], given.actions[:, 1], given.rewards[:, 1], given.noise[1]]
    mean = predictor.correct(expected, prior, *seen).post.mean
    for part in (1, 2):
        other = [x + 1.0 if i == part else x for i, x in enumerate(seen)]
        assert (predictor.correct(expected, prior, *other).post.mean != mean).any(-1).all()


def test_rewards_may_be_said_by_a_function_of_what_is_expected() -> None:
    predictor, given = _make(), _Given(3)
    calls = []

    def half(state: PredictorState, prior: Gaussian) -> Tensor:
        calls.append(prior)
        return prior.mean.sum(-1).detach()

    steps = predictor.filter(predictor.initial(N), *[*given][:-1], half)
    rewards = th.stack([prior.mean.sum(-1).detach() for prior in calls], 1)
    given.rewards = rewards
    assert all(
        _same(a, b)
        for a, b in zip(steps, predictor.filter(predictor.initial(N), *given), strict=True)
    )


def test_a_reward_that_was_told_counts_once() -> None:
    predictor, given = _make(), _Given(2)
    (first,) = predictor.filter(
        predictor.initial(N), *(x[:, :1] for x in [*given][:3]), given.noise[:1], told_reward
    )
    assert not first.state.told.any()
    told = first.state._replace(reward=given.rewards[:, 1], told=th.ones(N))
    rest = (given.actions[:, 1:], given.tokens[:, 1:], given.is_first[:, 1:], given.noise[1:])
    (heard,) = predictor.filter(told, *rest, told_reward)
    (given_it,) = predictor.filter(first.state, *rest, given.rewards[:, 1:])
    assert _same(heard, given_it)
    assert not heard.state.told.any()
    assert not heard.state.reward.any()
    (not_told,) = predictor.filter(told._replace(told=th.zeros(N)), *rest, told_reward)
    assert not th.equal(not_told.z, heard.z)


# ------------------------------------------------------------------ memory


def test_z_is_written_after_it_was_read_for() -> None:
    """Reads see the memory as it was before: nothing at first, then the one row that there is."""
    predictor, given = _make(), _Given(4)
    steps = predictor.filter(predictor.initial(N), *given)
    zs = [step.z for step in steps]
    assert steps[0].state.rows.written.tolist() == [0.0] * N
    assert not steps[0].state.reading.read.any()
    assert not steps[1].state.reading.read.any()  # read before the first z was written
    assert steps[1].state.reading.hidden.output.any()
    for t, step in enumerate(steps):
        content = step.state.rows.content
        assert step.state.rows.written.tolist() == [float(t)] * N
        for i in range(t):
            th.testing.assert_close(content[:, i, :Z], zs[i].detach())
        assert not content[:, t:].any()
    only = steps[1].state.rows.content[:, 0]
    th.testing.assert_close(steps[2].state.reading.read.view(N, 2, 2 * Z)[:, 1], only.detach())


def test_a_fresh_state_expects_without_reading_or_writing() -> None:
    predictor = _make()
    fresh = predictor.initial(N)
    state, _ = predictor.expect(fresh, th.ones(N, A))
    assert _same(state, fresh)
    mixed = fresh._replace(fresh=th.tensor([1.0, 0.0]))
    state, _ = predictor.expect(mixed, th.ones(N, A))
    assert state.rows.written.tolist() == [0.0, 1.0]
    assert state.reading.hidden.output.any(dim=1).tolist() == [False, True]


def test_reads_of_all_heads_count_as_usage() -> None:
    predictor, given = _make(heads=3), _Given(4)
    usage = predictor.filter(predictor.initial(N), *given)[-1].state.rows.usage
    # Two reads of three heads found something; the weights of each add up to one.
    th.testing.assert_close(usage.sum(-1), th.full((N,), 6.0))
    assert not usage.requires_grad


@pytest.mark.parametrize("write_grad", [False, True])
def test_what_is_written_is_a_constant_unless_asked(write_grad: bool) -> None:
    predictor, given = _make(write_grad=write_grad), _Given(4)
    steps = predictor.filter(predictor.initial(N), *given)
    content = steps[-1].state.rows.content
    assert content.requires_grad == write_grad
    if write_grad:
        # Of the first half: what follows in the second half depends on it in other ways, too.
        (gradient,) = th.autograd.grad(content[:, 0, :Z].sum(), steps[0].z, retain_graph=True)
        th.testing.assert_close(gradient, th.ones(N, Z))
    assert predictor.reader.heads is not None
    keys = predictor.reader.heads.keys.weight
    (gradient,) = th.autograd.grad(steps[-1].z.sum(), keys)
    assert gradient.any()


def test_the_gradient_reaches_all_that_a_step_is_computed_from() -> None:
    predictor, given = _make(), _Given(5)
    tokens = given.tokens.requires_grad_()
    steps = predictor.filter(predictor.initial(N), *given)
    sources = [tokens, *predictor.parameters()]
    gradients = th.autograd.grad(steps[-1].z.square().sum(), sources)
    assert gradients[0].any(-1).all()  # through time: also of the first step
    assert all(x.any() for x in gradients)


def test_forgetting_is_per_row_and_as_if_nothing_had_been() -> None:
    """Pitfall 1: LSTM, reads, rows, usage, trace and count, at that step and not one later."""
    predictor, given, alone = _make(), _Given(5), _Given(5)
    given.is_first[1, 2] = True
    steps = predictor.filter(predictor.initial(N), *given)
    for name in ("actions", "tokens", "rewards", "is_first"):
        setattr(alone, name, getattr(given, name)[:, 2:])
    alone.noise = given.noise[2:]
    anew = predictor.filter(predictor.initial(N), *alone)
    unbroken = _Given(5)
    others = predictor.filter(predictor.initial(N), *unbroken)
    for t in range(3):
        assert _same(select(steps[2 + t], [1]), select(anew[t], [1]))
        assert _same(select(steps[2 + t], [0]), select(others[2 + t], [0]))


def test_a_predictor_without_memory_writes_and_reads_nothing() -> None:
    predictor, given = _make(rows=0), _Given(3)
    steps = predictor.filter(predictor.initial(N), *given)
    assert steps[-1].state.rows == ()
    assert predictor.reader.context_dim == 10
    assert not [name for name, _ in predictor.named_parameters() if "keys" in name]


# ------------------------------------------------------------------ chance, dreams, places


def test_z_is_the_mean_where_nothing_is_drawn() -> None:
    given = _Given(3)
    for predictor, noise in (
        (_make(sample=False), given.noise),
        (_make(), [th.zeros(N, Z)] * 3),
    ):
        given.noise = noise
        for step in predictor.filter(predictor.initial(N), *given):
            assert th.equal(step.z, step.post.mean)
    assert not _make().draw(N, mode=True).any()
    assert not _make(sample=False).draw(N).any()
    assert _make().draw(N).all()


def test_noise_is_kept_so_that_a_step_can_be_gone_through_again() -> None:
    predictor, given = _make(), _Given(4)
    generator = th.Generator().manual_seed(3)
    more = [*given][:3]
    states, (post, prior) = predictor.observe(
        predictor.initial(N), *more, generator, rewards=given.rewards
    )
    assert states.noise.flatten().unique().numel() == N * 4 * Z
    given.noise = [*states.noise.unbind(1)]
    for t, step in enumerate(predictor.filter(predictor.initial(N), *given)):
        at = slice(None), t
        assert _same(step.state, select(states, at))
        assert _same((step.post, step.prior), (select(post, at), select(prior, at)))


def test_dreams_draw_from_what_is_expected() -> None:
    predictor, given = _make(), _Given(3)
    state = predictor.filter(predictor.initial(N), *given)[-1].state
    action = th.randn(N, A)
    expected, prior = predictor.expect(state, action)
    likely = predictor.imagine_step(state, action, mode=True)
    assert th.equal(likely.z, prior.mean)
    assert _same(likely.rows, expected.rows)
    assert likely.rows.written.tolist() == [3.0] * N
    drawn = predictor.imagine_step(state, action, th.Generator().manual_seed(0))
    th.testing.assert_close(drawn.z, prior.mean + prior.std * drawn.noise)
    assert drawn.noise.all()
    th.testing.assert_close(predictor.entropy(expected), prior.entropy())


def test_a_predictor_in_double_precision_stays_in_it() -> None:
    predictor, given = _make().double(), _Given(8)
    for name in ("actions", "tokens", "rewards"):
        setattr(given, name, getattr(given, name).double())
    given.noise = [x.double() for x in given.noise]
    step = predictor.filter(predictor.initial(N), *given)[-1]
    assert {part.dtype for part in leaves(step)} == {th.float64}


def test_filtering_works_where_the_module_is(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, given = _make(), _Given(8)
    given.is_first[0, 3] = True
    expected = predictor.filter(predictor.initial(N), *given)[-1]
    monkeypatch.setattr(nn.LSTMCell, "forward", _plain_lstm)
    there = _make().to(device)
    moved = [x.to(device) for x in [*given][:3]]
    noise = [x.to(device) for x in given.noise]
    steps = there.filter(there.initial(N), *moved, noise, given.rewards.to(device))
    for part, own in zip(leaves(steps[-1]), leaves(expected), strict=True):
        assert part.device.type == device
        th.testing.assert_close(part.cpu(), own)


def _plain_lstm(cell: nn.LSTMCell, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:
    """Compute an LSTM from single operations: off the CPU, torch wants a fused kernel for it."""
    gates = nn.functional.linear(x, cell.weight_ih, cell.bias_ih)
    gates = gates + nn.functional.linear(state[0], cell.weight_hh, cell.bias_hh)
    i, f, g, o = gates.chunk(4, dim=1)
    after = th.sigmoid(f) * state[1] + th.sigmoid(i) * th.tanh(g)
    return th.sigmoid(o) * th.tanh(after), after


def test_imagining_is_one_prior_step_after_another() -> None:
    predictor: Any = MemoryBasedPredictor(6, 2, latents=3, units=8, rows=4)
    start, actions = predictor.initial(5), th.randn(7, 5, 2)
    path = predictor.imagine(start, actions, generator=th.Generator().manual_seed(0))
    state, generator = start, th.Generator().manual_seed(0)
    for t, action in enumerate(actions):
        state = predictor.imagine_step(state, action, generator)
        there = select(path.states, t + 1)
        assert all(th.equal(a, b) for a, b in zip(leaves(there), leaves(state), strict=True))
        assert th.equal(path.feat[t + 1], state.z)
    with pytest.raises(TypeError, match="no state follows"):
        predictor.split(path.feat)
