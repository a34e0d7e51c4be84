"""The external memory: what rows gather, how they are read, and which of them are given up."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.memory import DeepLSTM, ExternalMemory, ReadHeads, Rows
from dreamzoo.nn.state import leaves, map_parts
from tests.nn.memory.slow import SlowMemory

#: Four values, and the rows that a memory with a discount of 0.5 makes of them.
VALUES = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]
GOLDEN = [[1.0, 0.0, 0.5, 0.75], [0.0, 1.0, 1.0, 0.5], [1.0, 1.0, 1.0, 0.0], [2.0, 0.0, 0.0, 0.0]]


def _written(memory: ExternalMemory, values: list[list[float]]) -> Rows:
    rows = memory.initial(1)
    for value in values:
        rows = memory.write(rows, th.tensor([value]))
    return rows


def _random(n: int, *shape: int, seed: int = 0) -> Tensor:
    return th.randn(n, *shape, generator=th.Generator().manual_seed(seed)).double()


# ------------------------------------------------------------------ rows


@pytest.mark.parametrize("rows", [4, 6])
def test_rows_hold_what_was_written_and_what_followed(rows: int) -> None:
    content = _written(ExternalMemory(rows, 2, 0.5), VALUES).content[0]
    th.testing.assert_close(content[:4], th.tensor(GOLDEN))
    assert not content[4:].any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.96, None])
def test_a_row_gathers_what_follows_discounted_and_not_itself(gamma: float | None) -> None:
    """Pitfall 4: whoever adds the current row to the trace finds z in its own future."""
    n, width, steps = 3, 4, 9
    memory = ExternalMemory(10, width, gamma).double()
    values, rows = _random(n, steps, width), memory.initial(n)
    for value in values.unbind(1):
        rows = memory.write(rows, value)
    assert rows.content.shape == (n, 10, width if gamma is None else 2 * width)
    for b in range(n):
        for i in range(steps):
            th.testing.assert_close(rows.content[b, i, :width], values[b, i])
            if gamma is not None:
                follow = th.zeros(width).double()
                for k in range(i + 1, steps):
                    follow += (1 - gamma) * gamma ** (k - i - 1) * values[b, k]
                th.testing.assert_close(rows.content[b, i, width:], follow)


def test_shares_of_what_follows_add_up_to_one() -> None:
    """So that the second half of a row is as large as the first, whatever the discount."""
    rows = _written(ExternalMemory(200, 1, 0.9), [[1.0]] * 200)
    assert rows.content[0, 0, 1].item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 1.5, -0.1, math.nan])
def test_discounts_that_gather_nothing_are_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"retro_gamma=.* must be at least 0 and below 1"):
        ExternalMemory(4, 2, gamma)


@pytest.mark.parametrize(("rows", "width"), [(0, 2), (4, 0), (-1, 2)])
def test_a_memory_without_rows_or_width_is_refused(rows: int, width: int) -> None:
    with pytest.raises(
        ValueError, match=r"^ExternalMemory: \w+=(0|-1) must be at least 1, a whole"
    ):
        ExternalMemory(rows, width)


# ------------------------------------------------------------------ reading


def test_reading_weighs_rows_by_what_they_hold() -> None:
    memory = ExternalMemory(6, 2, 0.5)
    rows = _written(memory, VALUES)
    key, strength = th.tensor([[[1.0, 0.0, 0.0, 0.0]]]), th.tensor([[2.0]])
    reads = memory.read(rows, key, strength)
    weights = th.tensor([0.2764, 0.0626, 0.1986, 0.4624, 0.0, 0.0])
    th.testing.assert_close(reads.weights[0, 0], weights, atol=5e-5, rtol=0)
    values = th.tensor([1.3998, 0.2612, 0.3994, 0.2386])
    th.testing.assert_close(reads.values[0, 0], values, atol=5e-5, rtol=0)
    longer = memory.read(rows, 7.0 * key, strength)  # the angle counts
    th.testing.assert_close(longer.values, reads.values)


def test_rows_without_content_soak_up_weight_where_they_are_not_masked() -> None:
    memory = ExternalMemory(6, 2, 0.5, mask_unwritten=False)
    rows = _written(memory, VALUES)
    reads = memory.read(rows, th.tensor([[[1.0, 0.0, 0.0, 0.0]]]), th.tensor([[2.0]]))
    weights = th.tensor([0.2457, 0.0556, 0.1765, 0.4110, 0.0556, 0.0556])
    th.testing.assert_close(reads.weights[0, 0], weights, atol=5e-5, rtol=0)


@pytest.mark.parametrize("masks", [True, False])
def test_a_memory_without_content_reads_as_zeros_with_finite_gradients(masks: bool) -> None:
    """Pitfall 9: neither a softmax over nothing nor the angle to a row of zeros is a number."""
    memory = ExternalMemory(5, 2, 0.5, mask_unwritten=masks)
    key, strength = th.zeros(2, 3, 4, requires_grad=True), th.ones(2, 3, requires_grad=True)
    for rows in (memory.initial(2), memory.write(memory.initial(2), th.zeros(2, 2))):
        reads = memory.read(rows, key, strength)
        assert not reads.values.any()
        total = reads.weights.sum(-1)
        th.testing.assert_close(total, th.full_like(total, float(not masks or rows.written[0] > 0)))
        for gradient in th.autograd.grad(reads.values.sum() + reads.weights.sum(), [key, strength]):
            assert th.isfinite(gradient).all()


def test_gradients_reach_keys_and_strengths_and_content_that_has_one() -> None:
    memory = ExternalMemory(6, 2, 0.5)
    rows = _written(memory, VALUES)
    key = th.tensor([[[0.3, -1.0, 0.2, 0.5]]], requires_grad=True)
    strength = th.tensor([[2.0]], requires_grad=True)
    reads = memory.read(rows, key, strength)
    for gradient in th.autograd.grad(reads.values[0, 0, 0], [key, strength]):
        assert gradient.all()
    assert not any(part.requires_grad for part in leaves(rows))
    content = rows.content.clone().requires_grad_()
    values = memory.read(rows._replace(content=content), key, th.zeros(1, 1)).values
    (gradient,) = th.autograd.grad(values.sum(), content)  # all rows weigh alike
    th.testing.assert_close(gradient[0, :4], th.full((4, 4), 0.25))
    assert not gradient[0, 4:].any()


def test_rows_of_zeros_have_a_finite_gradient() -> None:
    """Pitfall 9: the length of what is not there has no direction."""
    memory = ExternalMemory(3, 2, 0.5)
    rows = memory.write(memory.initial(1), th.zeros(1, 2))
    content = rows.content.clone().requires_grad_()
    reads = memory.read(rows._replace(content=content), th.ones(1, 1, 4), th.ones(1, 1))
    (gradient,) = th.autograd.grad(reads.values.sum() + reads.weights[0, 0, 0], content)
    assert th.isfinite(gradient).all()


def test_heads_read_with_keys_and_positive_strengths_of_their_own() -> None:
    memory = ExternalMemory(6, 2, 0.5)
    rows, hidden = map_parts(Tensor.double, _written(memory, VALUES)), _random(1, 5)
    heads = ReadHeads(5, 3, memory).double()
    reads = heads(hidden, rows)
    slow = _copy_of(rows, 0.5, masks=True)
    numbers = (heads.keys.weight @ hidden[0] + heads.keys.bias).detach()
    assert len(numbers) == 3 * (4 + 1)
    for i, part in enumerate(numbers.split(5)):
        strength = (1 + part[4].exp()).log()
        th.testing.assert_close(reads.values[0, i], slow.read(part[:4], strength)[0])
    assert heads.out_dim == reads.values[0].numel()


@pytest.mark.parametrize(("changes", "strength"), [({}, 6.0), ({"strength": 0.7}, 0.7)])
def test_reading_begins_with_some_strength(changes: dict[str, float], strength: float) -> None:
    """Whatever the number of rows, a few of them then have most of the weight."""
    heads = ReadHeads(5, 3, ExternalMemory(4, 2, 0.5), **changes)
    raw = heads.keys.bias.view(3, -1)[:, -1].detach()
    th.testing.assert_close(F.softplus(raw), th.full((3,), strength))


def _copy_of(rows: Rows, gamma: float | None, *, masks: bool) -> SlowMemory:
    """Turn the first of some memories, none of whose rows was overwritten, into a slow one."""
    width = rows.content.shape[-1] // (1 if gamma is None else 2)
    slow = SlowMemory(rows.content.shape[1], width, gamma, masks=masks)
    slow.values = [*rows.content[0, :, :width].double()]
    slow.follow = [*rows.content[0, :, width:].double()]
    slow.written = int(rows.written[0])
    return slow


# ------------------------------------------------------------------ the whole, against loops


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("gamma", [0.7, None])
def test_many_steps_equal_loops_over_numbers(gamma: float | None, masks: bool) -> None:
    """Four times as many values as rows: reads, usage, what is given up, and what it had."""
    n, width, steps, heads, count = 2, 3, 24, 2, 6
    memory = ExternalMemory(count, width, gamma, mask_unwritten=masks).double()
    rows = memory.initial(n)
    slow = [SlowMemory(count, width, gamma, masks=masks) for _ in range(n)]
    values, keys = (
        _random(n, steps, width),
        _random(n, steps, heads, memory.row_width, seed=1),
    )
    strengths = 3.0 * _random(n, steps, heads, seed=2).abs()
    given_up = set()
    for t in range(steps):
        reads = memory.read(rows, keys[:, t], strengths[:, t])
        for b, own in enumerate(slow):
            ours = [own.read(keys[b, t, k], strengths[b, t, k]) for k in range(heads)]
            th.testing.assert_close(reads.values[b], th.stack([value for value, _ in ours]))
            own.write(values[b, t], [weights for _, weights in ours])
        rows = memory.write(rows, values[:, t], reads.weights)
        for b, own in enumerate(slow):
            th.testing.assert_close(rows.content[b], th.stack([own.row(i) for i in range(count)]))
            th.testing.assert_close(rows.usage[b], th.tensor(own.usage).double())
            th.testing.assert_close(rows.newest[b], th.tensor(own.newest).double())
            if gamma is not None:
                th.testing.assert_close(rows.trace[b], th.tensor(own.trace).double())
            assert rows.written[b] == own.written == t + 1
            if t >= count:
                given_up.add((b, own.newest.index(1.0)))
    assert len(given_up) > count  # not one row again and again


# ------------------------------------------------------------------ which row is given up


def test_rows_in_order_are_taken_before_any_is_given_up() -> None:
    memory, n = ExternalMemory(4, 2, 0.5), 2
    rows = memory.initial(n)
    for t in range(4):
        weights = th.zeros(n, 1, 4)
        weights[:, :, 3] = 1.0  # however rows are used
        rows = memory.write(rows, th.ones(n, 2), weights)
        assert rows.newest.argmax(-1).tolist() == [t] * n


def test_what_was_read_least_is_given_up_and_forgets_what_it_had_gathered() -> None:
    memory = ExternalMemory(4, 2, 0.5)
    rows = _written(memory, VALUES)
    reads = th.tensor([[[0.4, 0.1, 0.2, 0.3], [0.3, 0.0, 0.5, 0.2]]])
    after = memory.write(rows, th.tensor([[5.0, 7.0]]), reads)
    assert after.newest.tolist() == [[0.0, 1.0, 0.0, 0.0]]
    assert after.content[0, 1].tolist() == [5.0, 7.0, 0.0, 0.0]
    assert after.trace[0, 1] == 0.0
    used = th.tensor([0.7, 0.5, 0.7, 0.5])  # the second has begun with the mean
    th.testing.assert_close(after.usage[0], used)
    follows = th.tensor(GOLDEN)[[0, 2, 3], 2:]  # what the others had, and a share of the new
    shares = th.tensor([[0.0625], [0.25], [0.5]])
    expected = follows + shares * th.tensor([5.0, 7.0])
    th.testing.assert_close(after.content[0, [0, 2, 3], 2:], expected)


def _overwritten(memory: ExternalMemory, *, plain: bool) -> list[int]:
    """Write four times as many values as there are rows; name the row of each."""
    rows, n = memory.initial(1), memory.rows
    generator, taken = th.Generator().manual_seed(0), []
    usage = th.zeros(1, n)
    for t in range(4 * n):
        value, key = (th.randn(1, w, generator=generator) for w in (8, memory.row_width))
        weights = memory.read(rows, key[:, None], th.full((1, 1), 0.7)).weights
        if plain:  # the rule of the paper: usage is the sum of reads, and of nothing else
            usage = usage + weights.sum(1)
            row = t if t < n else int(usage.argmin())
            rows = memory.write(rows._replace(usage=F.one_hot(th.tensor([row]), n) * -1.0), value)
        else:
            rows = memory.write(rows, value, weights)
        taken.append(int(rows.newest.argmax()))
    return taken


def test_a_full_memory_does_not_give_up_one_row_again_and_again() -> None:
    """Pitfall 3: a row that was just written has been read least; the plain rule takes it again."""
    n = 64
    memory = ExternalMemory(n, 8, 0.9)
    ours, plain = (_overwritten(memory, plain=x)[-n:] for x in (False, True))
    repeats = [sum(a == b for a, b in pairwise(x)) / (n - 1) for x in (ours, plain)]
    assert len(set(plain)) <= 3
    assert repeats[1] > 0.5
    assert len(set(ours)) >= 40
    assert repeats[0] == 0.0


# ------------------------------------------------------------------ rows of a batch, places


def test_memories_of_a_batch_have_nothing_in_common() -> None:
    """Each has its own number of values, and changes of one are not seen in another."""
    memory = ExternalMemory(3, 2, 0.5)
    values, keys = th.randn(2, 7, 2), th.randn(2, 7, 2, 4)
    strengths = th.rand(2, 7, 2)

    def run(at: list[int], reset: bool) -> tuple[Rows, Tensor]:
        rows, nothing = memory.initial(len(at)), memory.initial(len(at))
        for t in range(7):
            if reset and t == 2:  # the first begins anew, the others go on
                anew = th.tensor([i == 0 for i in at])
                rows = map_parts(
                    lambda a, b, anew=anew: th.where(anew.view(-1, *[1] * (a.dim() - 1)), a, b),
                    nothing,
                    rows,
                )
            reads = memory.read(rows, keys[at, t], strengths[at, t])
            rows = memory.write(rows, values[at, t], reads.weights)
        return rows, reads.values

    together, read = run([0, 1], True)
    assert together.written.tolist() == [5.0, 7.0]
    for i in range(2):
        alone, alone_read = run([i], True)
        for part, own in zip(together, alone, strict=True):
            th.testing.assert_close(part[i], own[0])
        th.testing.assert_close(read[i], alone_read[0])


def test_writing_leaves_the_memory_before_it_as_it_was() -> None:
    memory = ExternalMemory(3, 2, 0.5)
    rows = _written(memory, VALUES)
    before = map_parts(Tensor.clone, rows)
    memory.write(rows, th.ones(1, 2), th.ones(1, 1, 3))
    assert all(th.equal(a, b) for a, b in zip(before, rows, strict=True))


def test_a_memory_in_double_precision_stays_in_it() -> None:
    memory = ExternalMemory(3, 2, 0.5).double()
    rows = memory.initial(1)
    for _ in range(5):
        reads = memory.read(rows, _random(1, 1, 4), th.ones(1, 1).double())
        rows = memory.write(rows, _random(1, 2), reads.weights)
    assert {part.dtype for part in (*rows, *reads)} == {th.float64}


def test_a_memory_works_where_its_module_is(device: str) -> None:
    memory, here = ExternalMemory(3, 2, 0.5).to(device), ExternalMemory(3, 2, 0.5)
    heads = ReadHeads(4, 2, here)
    there = ReadHeads(4, 2, memory).to(device)
    there.load_state_dict(heads.state_dict())
    rows, expected = memory.initial(2), here.initial(2)
    for t in range(5):
        hidden, value = _random(2, 4, seed=t).float(), _random(2, 2, seed=t).float()
        reads, ours = there(hidden.to(device), rows), heads(hidden, expected)
        rows = memory.write(rows, value.to(device), reads.weights)
        expected = here.write(expected, value, ours.weights)
    for part, own in zip((*rows, *reads), (*expected, *ours), strict=True):
        assert part.device.type == device
        th.testing.assert_close(part.cpu(), own)


def test_a_memory_adds_nothing_to_what_is_saved() -> None:
    assert not ExternalMemory(4, 2).state_dict()


@pytest.mark.parametrize("retro_gamma", [0.5, 0.96, 0.0, None])
def test_ages_are_the_writes_since_a_rows_own(retro_gamma: float | None) -> None:
    """Also when rows are overwritten out of order, by what the memory gathers retroactively."""
    memory = ExternalMemory(4, 2, retro_gamma)
    rows, born = memory.initial(1), [-1] * 4
    generator = th.Generator().manual_seed(0)
    for time in range(40):
        reads = th.rand(1, 1, 4, generator=generator)
        rows = memory.write(rows, th.randn(1, 2, generator=generator), reads)
        born[int(rows.newest.argmax())] = time
        ages = memory.ages(rows)[0]
        if time < 4:
            assert ages[: time + 1].tolist() == list(range(time, -1, -1))
        elif retro_gamma:
            assert ages.tolist() == pytest.approx([time - b for b in born])
        else:
            assert ages.isnan().all()


# ------------------------------------------------------------------ what does not fit


@pytest.mark.parametrize("dtype", [th.bfloat16, th.float16])
def test_rows_are_counted_also_in_half_precision(dtype: th.dtype) -> None:
    """After 256 a bfloat16 does not count on: every later value would go into one row."""
    memory = ExternalMemory(270, 1).to(dtype)
    rows = memory.initial(2)
    for _ in range(264):
        rows = memory.write(rows, th.ones(2, 1, dtype=dtype))
    assert rows.written.tolist() == [264.0, 264.0]
    assert rows.content[..., 0].sum(1, dtype=th.float32).tolist() == [264.0, 264.0]
    assert rows.content.dtype == dtype


def test_what_would_be_broadcast_is_refused() -> None:
    memory = ExternalMemory(4, 3)
    rows = memory.initial(4)
    for value in (th.ones(4, 1), th.ones(1, 3), th.ones(4, 1, 3)):
        with pytest.raises(ValueError, match=r"value of the shape .* expected \(4, 3\)"):
            memory.write(rows, value)
    for reads in (th.ones(4, 4), th.ones(4, 2, 1), th.ones(1, 2, 4)):
        with pytest.raises(ValueError, match="reads of the shape"):
            memory.write(rows, th.ones(4, 3), reads)
    for keys in (th.ones(4, 6), th.ones(1, 2, 6), th.ones(4, 2, 3)):
        with pytest.raises(ValueError, match="keys of the shape"):
            memory.read(rows, keys, th.ones(4, 2))
    for strengths in (th.ones(4), th.ones(4, 1), th.ones(1, 2)):
        with pytest.raises(ValueError, match=r"strengths of the shape .* expected \(4, 2\)"):
            memory.read(rows, th.ones(4, 2, 6), strengths)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m: ReadHeads(4, 0, m), "ReadHeads: heads=0 must be at least 1"),
        (lambda m: ReadHeads(4, 2, m, strength=0.0), "ReadHeads: strength=0.0 must be more than 0"),
        (lambda m: DeepLSTM(3, 4, 0), "DeepLSTM: layers=0 must be at least 1"),
        (lambda m: ExternalMemory(m.rows / 2, 3), "ExternalMemory: rows=1.5 must be at least 1"),
        (
            lambda m: m.write(ExternalMemory(4, 3).initial(2), th.zeros(2, 3)),
            r"rows.content of the shape \(2, 4, 6\); expected \(2, 3, 6\)",
        ),
    ],
)
def test_arguments_that_make_no_memory_are_named(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(ExternalMemory(3, 3))


@pytest.mark.parametrize("strength", [1e-3, 6.0, 1_000.0])
def test_strengths_begin_where_they_are_told_to(strength: float) -> None:
    heads = ReadHeads(4, 2, ExternalMemory(3, 3), strength)
    _, strengths = heads.ask(th.zeros(1, 4))
    assert strengths[0].tolist() == pytest.approx([strength] * 2, rel=1e-3)
