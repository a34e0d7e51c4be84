"""What agents remember travels to callers and back, whatever its parts are."""

from typing import NamedTuple

import numpy as np
import pytest
import torch as th

from dreamzoo.common.policies.memory_layout import MemoryLayout
from dreamzoo.nn.checks import InputError
from dreamzoo.nn.state import leaves


class Memory(NamedTuple):
    layers: tuple[tuple[th.Tensor, th.Tensor], ...]
    rows: th.Tensor
    is_used: th.Tensor
    age: th.Tensor


def _memory(n: int) -> Memory:
    cells = th.arange(2.0 * n).view(n, 2)
    used = th.arange(3 * n).view(n, 3) % 2 == 0
    age = th.arange(n) + 2**40  # no float32 holds it
    return Memory(((cells, -cells),), th.arange(12.0 * n).view(n, 3, 4), used, age)


def test_what_is_packed_is_flat_in_its_own_dtype_and_comes_back_the_same() -> None:
    layout, memory = MemoryLayout(_memory(1)), _memory(5)
    packed = layout.pack(memory)
    assert [x.shape for x in packed] == [(5, 2), (5, 2), (5, 12), (5, 3), (5, 1)]
    assert [str(x.dtype) for x in packed] == ["float32", "float32", "float32", "bool", "int64"]
    again = layout.unpack([*map(th.from_numpy, layout.check_arrays(packed, 5))])
    assert isinstance(again, Memory)
    for one, other in zip(leaves(again), leaves(memory), strict=True):
        assert one.dtype == other.dtype
        assert th.equal(one, other)
    layout.check_tensors(again, 5)
    assert [(x.shape, x.dtype) for x in layout.zeros(5)] == [(x.shape, x.dtype) for x in packed]


@pytest.mark.parametrize(("part", "dtype"), [(4, np.float32), (4, np.int32), (0, np.float64)])
def test_a_part_of_another_dtype_is_refused(part: int, dtype: type) -> None:
    layout = MemoryLayout(_memory(1))
    packed = [*layout.pack(_memory(2))]
    packed[part] = packed[part].astype(dtype)
    with pytest.raises(InputError, match=f"part {part} of 5 is .*, as the last"):
        layout.check_arrays(packed, 2)
    memory = layout.unpack([*map(th.from_numpy, packed)])
    with pytest.raises(InputError, match="State that does not fit"):
        layout.check_tensors(memory, 2)


def test_numbers_that_are_not_finite_are_refused_and_named() -> None:
    layout, memory = MemoryLayout(_memory(1)), _memory(2)
    memory.rows[1, 2, 3] = th.nan
    with pytest.raises(InputError, match=r"[Pp]art 2 of the state"):
        layout.check_tensors(memory, 2)
    with pytest.raises(InputError, match=r"[Pp]art 2 of the state"):
        layout.check_arrays(layout.pack(memory), 2)
