"""LSTMs with skip connections, and those that read a memory, against loops over numbers."""

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.memory import DeepLSTM, ExternalMemory, Hidden, MemoryReader, Reading
from dreamzoo.nn.state import map_parts
from tests.nn.memory.slow import SlowMemory, lstm_step

IN, UNITS, LAYERS, N = 5, 3, 3, 2


def test_every_layer_sees_the_input_and_is_an_output() -> None:
    lstm = DeepLSTM(IN, UNITS, LAYERS).double()
    weights, state = dict(lstm.named_parameters()), lstm.initial(N)
    assert state.output.shape == (N, LAYERS * UNITS)
    nothing = [th.zeros(UNITS).double()] * LAYERS
    rows = [(nothing, nothing)] * N
    for x in th.randn(6, N, IN).double():
        state = lstm(x, state)
        rows = [lstm_step(weights, "", x[b], *rows[b]) for b in range(N)]
        for b, (outputs, cells) in enumerate(rows):
            th.testing.assert_close(state.output[b], th.cat(outputs))
            th.testing.assert_close(state.cell[b], th.cat(cells))


def test_the_gradient_goes_back_through_time_and_layers() -> None:
    lstm = DeepLSTM(IN, UNITS, LAYERS)
    first = th.randn(N, IN, requires_grad=True)
    state = lstm(first, lstm.initial(N))
    for x in th.randn(3, N, IN):
        state = lstm(x, state)
    (gradient,) = th.autograd.grad(state.output.sum(), first, retain_graph=True)
    assert gradient.all()
    for gradient in th.autograd.grad(state.output.sum(), [*lstm.parameters()]):
        assert gradient.any()


@pytest.mark.parametrize("heads", [1, 2])
def test_what_was_read_is_heard_at_the_next_step(heads: int) -> None:
    """Keys come from the LSTM's new state, its input from the read before."""
    memory = ExternalMemory(4, 2, 0.5).double()
    rows = memory.initial(1)
    slow = SlowMemory(4, 2, 0.5)
    for _ in range(3):
        value = th.randn(1, 2).double()
        rows = memory.write(rows, value)
        slow.write(value[0], [])
    reader = MemoryReader(IN, UNITS, LAYERS, heads, memory).double()
    state = reader.initial(1)
    nothing = [th.zeros(UNITS).double()] * LAYERS
    outputs, cells, read = nothing, nothing, th.zeros(heads * 4).double()
    w = dict(reader.named_parameters())
    assert reader.heads is not None
    for x in th.randn(5, 1, IN).double():
        state, weights = reader(x, state, rows)
        outputs, cells = lstm_step(w, "lstm.", th.cat([x[0], read]), outputs, cells)
        keys = reader.heads.keys.weight @ th.cat(outputs) + reader.heads.keys.bias
        reads = [slow.read(k[:4], (1 + k[4].exp()).log()) for k in keys.split(5)]
        read = th.cat([value for value, _ in reads])
        th.testing.assert_close(state.hidden, Hidden(th.cat(outputs)[None], th.cat(cells)[None]))
        th.testing.assert_close(state.read[0], read)
        th.testing.assert_close(weights[0], th.stack([th.stack(w) for _, w in reads]))
        th.testing.assert_close(state.context[0], th.cat([*outputs, read]))
    assert reader.context_dim == state.context.shape[1]


def test_a_reader_without_memory_is_an_lstm() -> None:
    reader = MemoryReader(IN, UNITS, LAYERS, 3, None)
    x = th.randn(N, IN)
    state, weights = reader(x, reader.initial(N), ())
    assert weights is None
    assert state.read.shape == (N, 0)
    th.testing.assert_close(state.hidden, reader.lstm(x, reader.lstm.initial(N)))
    assert not [name for name, _ in reader.named_parameters() if not name.startswith("lstm.")]


def test_a_reader_writes_nothing_and_its_gradient_reaches_its_keys() -> None:
    memory = ExternalMemory(4, 2, 0.5)
    rows = memory.write(memory.write(memory.initial(N), th.randn(N, 2)), th.randn(N, 2))
    before = map_parts(Tensor.clone, rows)
    reader = MemoryReader(IN, UNITS, LAYERS, 1, memory)
    state: Reading = reader(th.randn(N, IN), reader.initial(N), rows)[0]
    assert all(th.equal(a, b) for a, b in zip(before, rows, strict=True))
    assert reader.heads is not None
    keys = reader.heads.keys.weight
    (gradient,) = th.autograd.grad(state.read.square().sum(), keys)
    assert gradient.any(dim=1).all()  # of keys, and of the strength


def test_reading_is_described_as_it_was_done() -> None:
    memory = ExternalMemory(4, 2, 0.5)
    reader = MemoryReader(IN, UNITS, LAYERS, 2, memory)
    rows = memory.initial(N)
    state, _ = reader(th.randn(N, IN), reader.initial(N), rows)
    nothing = reader.describe(state, rows)
    assert all(not nothing[name].any() for name in ("read_entropy", "read_age", "rows_used"))
    for _ in range(6):
        rows = memory.write(rows, th.randn(N, 2), th.rand(N, 2, 4))
        state, weights = reader(th.randn(N, IN), state, rows)
        assert weights is not None
        described = reader.describe(state, rows)
        entropy = -(weights * weights.clamp(min=1e-30).log()).sum(-1)
        th.testing.assert_close(described["read_entropy"], entropy)
        ages = memory.ages(rows)
        for n in range(N):
            best = weights[n].argmax(-1)
            th.testing.assert_close(described["read_age"][n], ages[n, best])
        assert reader.heads is not None
        keys = reader.heads.keys(state.hidden.output).view(N, 2, 5)
        th.testing.assert_close(described["read_strength"], (1 + keys[..., 4].exp()).log())
        assert described["rows_used"].tolist() == [min(float(rows.written[0]), 4) / 4] * N
    assert not any(x.requires_grad for x in described.values())


def test_nothing_is_described_without_a_memory() -> None:
    reader = MemoryReader(IN, UNITS, LAYERS, 2, None)
    assert reader.describe(reader.initial(N), ()) == {}
