"""Several arrays in one copy, to a device and back."""

import numpy as np
import pytest
import torch as th

from dreamzoo.nn.fast import parcels
from dreamzoo.nn.fast.parcels import ALIGNMENT, Part, Rows, parcel_of, ship
from dreamzoo.nn.fast.streams import AHEAD

RNG = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray] = {
    "bytes": RNG.integers(0, 256, (2, 3, 5), dtype=np.uint8),
    "flags": np.array([True, False, True]),
    "numbers": RNG.normal(size=(4, 1)).astype(np.float32),
    "nothing": np.zeros((3, 0), np.float32),
    "wide": RNG.normal(size=(3,)),
    "half": RNG.normal(size=(7,)).astype(np.float16),
    "integers": RNG.integers(-(2**40), 2**40, (2, 2)),
    "turned": RNG.normal(size=(3, 4)).astype(np.float32).T[::-1],
    "one": np.array(7, np.int32),
}


def test_arrays_arrive_as_they_were(device: str) -> None:
    parcel = parcel_of(list(ARRAYS.values()))
    packed = parcel.send(ARRAYS.values(), th.device(device))
    assert (packed.device.type, packed.shape) == (device, (parcel.nbytes,))
    for array, part in zip(ARRAYS.values(), parcel.open(packed), strict=True):
        assert part.device.type == device
        assert part.is_contiguous()
        found = part.cpu().numpy()
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert not array.size or part.storage_offset() * part.element_size() % ALIGNMENT == 0


def test_tensors_come_back_as_they_were(device: str) -> None:
    tensors = [th.from_numpy(np.asarray(x, order="C")).to(device) for x in ARRAYS.values()]
    parcel = parcel_of(tensors)
    assert parcel.layout == parcel_of(list(ARRAYS.values())).layout
    packed = parcel.pack(tensors, th.device(device)).cpu().numpy()
    for array, part in zip(ARRAYS.values(), parcel.views(packed), strict=True):
        assert part.dtype == array.dtype
        assert np.array_equal(part, array)


@pytest.mark.parametrize("far", [False, True])
def test_rows_are_gathered_on_their_way(
    far: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if far:
        monkeypatch.setattr(parcels, "is_far", lambda device: True)
    store = RNG.integers(0, 256, (20, 3, 2), dtype=np.uint8)
    chosen = RNG.integers(0, 20, (4, 5))
    parts: dict[str, Part] = {"rows": Rows(store, chosen), **ARRAYS}
    there = ship(parts, th.device(device))
    assert list(there) == list(parts)
    assert np.array_equal(there["rows"].cpu().numpy(), store[chosen])
    for name, array in ARRAYS.items():
        assert np.array_equal(there[name].cpu().numpy(), array)
    before = there["rows"].clone()
    other = ship({**parts, "rows": Rows(store, chosen[::-1])}, th.device(device))
    assert th.equal(there["rows"].cpu(), before.cpu()), "the next parcel has memory of its own"
    assert np.array_equal(other["rows"].cpu().numpy(), store[chosen[::-1]])


@pytest.mark.gpu
def test_copies_do_not_pile_up_on_a_device_that_computes_for_long() -> None:
    size, device = 2**20, th.device("cuda")
    th.cuda.synchronize()
    th.cuda.reset_peak_memory_stats()
    # What is freed and yet to be read counts as active, not as allocated.
    before = th.cuda.memory_stats()["active_bytes.all.current"]
    for i in range(40):
        there = ship({"numbers": np.full(size, i % 256, np.uint8)}, device)["numbers"]
        th.cuda._sleep(5_000_000)  # cycles
        last = there[-1:].clone()  # read behind all that
    th.cuda.synchronize()
    assert last.item() == 39
    most = th.cuda.memory_stats()["active_bytes.all.peak"]
    assert most - before <= (AHEAD + 3) * size
