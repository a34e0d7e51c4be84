"""States are handled part by part, whatever parts a model has."""

from typing import NamedTuple

import torch as th

from dreamzoo.nn import state


class Memory(NamedTuple):
    cells: th.Tensor
    usage: th.Tensor
    age: th.Tensor


def _memory(rows: int, start: int = 0) -> Memory:
    x = th.arange(start, start + rows)
    return Memory(x[:, None, None].expand(rows, 2, 3).float(), x[:, None].double(), x)


def test_functions_reach_every_part_and_keep_the_class() -> None:
    doubled = state.map_parts(lambda part: 2 * part, _memory(4))
    assert isinstance(doubled, Memory)
    assert doubled.age.tolist() == [0, 2, 4, 6]
    assert doubled.cells[3, 1, 2] == doubled.usage[3, 0] == 6


def test_rows_are_selected_by_number_by_mask_and_by_several_axes() -> None:
    assert state.select(_memory(4), th.tensor([2, 0])).age.tolist() == [2, 0]
    odd = state.select(_memory(4), th.tensor([False, True, False, True]))
    assert [len(part) for part in odd] == [2, 2, 2]
    stacked = state.stack([_memory(4), _memory(4, start=10)], dim=1)
    assert stacked.cells.shape == (4, 2, 2, 3)
    assert state.select(stacked, (slice(None), 1)).age.tolist() == [10, 11, 12, 13]


def test_axes_are_stacked_and_flattened_in_order() -> None:
    flat = state.flatten(state.stack([_memory(2), _memory(2, start=5)], dim=0), 0, 1)
    assert flat.age.tolist() == [0, 1, 5, 6]
    assert flat.cells.shape == (4, 2, 3)


def test_rows_are_taken_from_one_or_the_other() -> None:
    rows = th.tensor([True, False, True])
    mixed = state.where(rows, _memory(3), _memory(3, start=7))
    assert mixed.age.tolist() == [0, 8, 2]
    assert mixed.cells[:, 1, 2].tolist() == mixed.usage[:, 0].tolist() == [0, 8, 2]


def test_one_part_says_where_and_how_many() -> None:
    assert len(state.first_part(_memory(3))) == 3


def test_leaves_of_states_within_states_are_named_in_their_order() -> None:
    """As a policy's memory is: a latent and the action before."""

    class _Outer(NamedTuple):
        inner: Memory
        action: th.Tensor

    memory = _Outer(_memory(3), th.full((3, 2), 7.0))
    parts = state.leaves(memory)
    expected = [*memory.inner, memory.action]
    assert list(map(id, parts)) == list(map(id, expected))
    assert state.leaf_names(memory) == [*memory.inner._fields, "action"]
    again = state.rebuild(memory, [part + 1 for part in parts])
    assert isinstance(again, _Outer)
    assert isinstance(again.inner, Memory)
    assert th.equal(again.action, memory.action + 1)


class Recurrent(NamedTuple):
    layers: tuple[tuple[th.Tensor, th.Tensor], ...]
    memory: Memory
    missing: tuple[()]
    step: th.Tensor


def _recurrent(rows: int, start: int = 0) -> Recurrent:
    x = th.arange(start, start + rows)
    cells = x[:, None].expand(rows, 2).float()
    return Recurrent(((cells, 2 * cells), (3 * cells, 4 * cells)), _memory(rows, start), (), x)


def test_every_function_reaches_tuples_without_names_too() -> None:
    """As the cells of an LSTM are kept, beside a memory that has names and a counter."""
    first, second = _recurrent(3), _recurrent(3, start=5)
    doubled = state.map_parts(lambda part: 2 * part, first)
    assert isinstance(doubled, Recurrent)
    assert isinstance(doubled.memory, Memory)
    assert doubled.missing == ()
    assert doubled.layers[1][0].tolist() == [[0, 0], [6, 6], [12, 12]]
    stacked = state.stack([first, second], dim=1)
    assert stacked.layers[0][1].shape == (3, 2, 2)
    assert state.flatten(stacked, 0, 1).step.tolist() == [0, 5, 1, 6, 2, 7]
    assert state.select(stacked, (slice(None), -1)).memory.age.tolist() == [5, 6, 7]
    mixed = state.where(th.tensor([True, False, True]), first, second)
    assert mixed.layers[1][1][:, 0].tolist() == [0, 24, 8]
    assert mixed.step.dtype == th.int64
    assert mixed.step.tolist() == [0, 6, 2]
    assert state.first_part(first) is first.layers[0][0]


def test_parts_with_the_same_name_are_told_apart_by_where_they_are() -> None:
    memory = _recurrent(2)

    class _Both(NamedTuple):
        inner: Recurrent
        step: th.Tensor

    names = state.leaf_names(_Both(memory, memory.step))
    assert names[:4] == ["layers.0.0", "layers.0.1", "layers.1.0", "layers.1.1"]
    assert names[4:] == ["cells", "usage", "age", "inner.step", "step"]
    again = state.rebuild(memory, state.leaves(memory))
    assert list(map(id, state.leaves(again))) == list(map(id, state.leaves(memory)))
    assert again.missing == ()
