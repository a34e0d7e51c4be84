"""Memory is lent once at a time, comes back by itself, and does not pile up."""

import gc
import threading

import pytest
import torch as th

from dreamzoo.nn.fast import memory
from dreamzoo.nn.fast.switch import use

ROWS, WIDTH = memory.LEAST // 400, 100  # of float32: just large enough
LIKE = th.empty(0)


def _address(x: th.Tensor) -> int:
    return x.untyped_storage().data_ptr()


def test_memory_comes_back_when_no_tensor_refers_to_it() -> None:
    store = memory.Store()
    x = store.empty(LIKE, ROWS + 1, WIDTH)
    assert x.shape == (ROWS + 1, WIDTH)
    assert x.dtype is th.float32
    assert x.data_ptr() % memory.ALIGNMENT == 0
    where, row = _address(x), x[3]
    del x
    other = store.empty(LIKE, ROWS + 1, WIDTH)
    assert _address(other) != where  # a row is still in use
    del row
    assert _address(store.empty(LIKE, ROWS + 1, WIDTH)) == where


def test_what_is_in_use_is_not_lent_again() -> None:
    store = memory.Store()
    lent = [store.empty(LIKE, ROWS + 1, WIDTH).fill_(i) for i in range(3)]
    assert all((x == i).all() for i, x in enumerate(lent))


def test_arrays_hold_on_to_memory_as_tensors_do() -> None:
    store = memory.Store()
    array = store.empty(LIKE, ROWS + 1, WIDTH).fill_(1.0).numpy()
    store.empty(LIKE, ROWS + 1, WIDTH).fill_(2.0)
    assert (array == 1.0).all()


def test_no_more_is_kept_than_may_be() -> None:
    each = memory.LEAST + memory.ALIGNMENT
    store = memory.Store(kept=2 * each)
    lent = [store.empty(LIKE, memory.LEAST // 4) for _ in range(3)]
    del lent
    gc.collect()
    assert sum(map(len, store._free.values())) == 1  # the third made the others go


def test_threads_share_a_store() -> None:
    store, wrong = memory.Store(), []

    def use_memory(i: int) -> None:
        for _ in range(50):
            x = store.empty(LIKE, ROWS + 1, WIDTH)
            x[0] = i
            if not (x[0] == i).all():
                wrong.append(i)

    threads = [threading.Thread(target=use_memory, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", [th.float32, th.float64, th.bfloat16])
def test_small_and_other_numbers_have_the_dtype_asked_for(dtype: th.dtype) -> None:
    like = th.empty(0, dtype=dtype)
    for shape in ((2, 3), (ROWS, 2 * WIDTH)):
        x = memory.empty(like, *shape)
        assert (x.shape, x.dtype) == (shape, dtype)


@pytest.mark.parametrize("rows", [2, ROWS])
def test_joined_tensors_and_their_gradients_are_those_of_torch(rows: int) -> None:
    parts = [th.randn(rows, WIDTH, requires_grad=True) for _ in range(3)]
    weight, results = th.randn(2, rows, WIDTH), []
    for form in ("fast", "plain"):
        with use(form):
            joined = memory.stack(parts)
            later = memory.after_first(joined)
            results.append((joined, later, *th.autograd.grad((later * weight).sum(), parts)))
    for one, other in zip(*results, strict=True):
        assert th.equal(one, other)
    assert not results[0][2].any()
