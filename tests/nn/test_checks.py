"""What crosses the border, and what the message says about the rest."""

import re
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.nn.checks import InputError, ObservationChecker, to_flags, to_host, to_rewards
from dreamzoo.nn.observations import ObservationCodec

INF, NAN = np.inf, np.nan
FREE = spaces.Box(-INF, INF, (2,), np.float32)
DOUBLE = spaces.Box(-INF, INF, (2,), np.float64)
HALF = spaces.Box(-INF, INF, (2,), np.float16)
SMALL = spaces.Box(-3, 9, (2,), np.int8)
LONG = spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64)
PIXELS = spaces.Box(-1.0, 1.0, (1, 1, 2), np.float32)
BYTES = spaces.Box(0, 255, (1, 1, 2), np.uint8)
SHIFTED = spaces.Discrete(3, start=-1)
MULTI = spaces.MultiDiscrete([4, 3])
MOVED = spaces.MultiDiscrete([2, 3], start=[5, -1])
BINARY = spaces.MultiBinary(2)
BOOL: Any = bool  # gymnasium annotates no space of these
FLAGS, BOARD = spaces.Box(0, 1, (2,), BOOL), spaces.Box(0, 1, (1, 1, 2), BOOL)


def checker(space: spaces.Space) -> ObservationChecker:
    codec = ObservationCodec(space, normalize_images=space not in (PIXELS,))
    return ObservationChecker(codec)


REFUSED: list[tuple[spaces.Space, Any, str]] = [
    (FREE, [[0.0, NAN]], "NaN or infinity: nan at (0, 1); expected finite numbers of float32"),
    (FREE, [[-INF, 0.0]], "NaN or infinity: -inf at (0, 0)"),
    (FREE, [[0.0, 1e39]], "outside its space: 1e+39 at (0, 1)"),
    (DOUBLE, [[0.0, -1e300]], "outside its space: -1e+300 at (0, 1)"),
    (HALF, [[0.0, 7e4]], "70000.0 at (0, 1); expected finite numbers of float16"),
    (HALF, [[0, 70_000]], "70000 at (0, 1)"),
    (SMALL, [[0, 128]], "128 at (0, 1); expected whole numbers from -128 to 127"),
    (SMALL, [[0.0, 1.5]], "1.5 at (0, 1)"),
    (SMALL, [[0.0, NAN]], "NaN or infinity: nan at (0, 1)"),
    (LONG, [[0.0, 2.0**63]], "9.223372036854776e+18 at (0, 1)"),
    (LONG, np.array([[0, 2**63]], np.uint64), "9223372036854775808 at (0, 1)"),
    (PIXELS, [[[[0.0, 1.1]]]], "1.1 at (0, 0, 0, 1); expected images between the bounds of Box"),
    (PIXELS, [[[[NAN, 0.0]]]], "NaN or infinity: nan at (0, 0, 0, 0)"),
    (BYTES, [[[[0, 256]]]], "256 at (0, 0, 0, 1)"),
    (BYTES, [[[[0.5, 0.0]]]], "0.5 at (0, 0, 0, 0)"),
    (BYTES, np.full((1, 1, 1, 2), -1, np.int8), "-1 at (0, 0, 0, 0)"),
    (SHIFTED, [2], "2 at (0,); expected members of Discrete(3, start=-1)"),
    (SHIFTED, [-2], "-2 at (0,)"),
    (SHIFTED, [0.5], "0.5 at (0,)"),
    (MULTI, [[4, 0]], "4 at (0, 0); expected members of MultiDiscrete([4 3])"),
    (MULTI, [[0, -1]], "-1 at (0, 1)"),
    (MULTI, [[0, 3]], "3 at (0, 1)"),
    (MOVED, [[4, 0]], "4 at (0, 0)"),
    (MOVED, [[5, 2]], "2 at (0, 1)"),
    (BINARY, [[0, 2]], "2 at (0, 1)"),
    (BINARY, [[0.0, 0.5]], "0.5 at (0, 1)"),
    (FLAGS, [[0, 2]], "2 at (0, 1); expected members of Box(False, True, (2,), bool)"),
    (FLAGS, [[0.0, 0.5]], "0.5 at (0, 1)"),
    (FLAGS, [[0.0, NAN]], "NaN or infinity: nan at (0, 1)"),
    (BOARD, [[[[0.0, 0.5]]]], "0.5 at (0, 0, 0, 1)"),
    (FREE, None, "not real: NoneType of the dtype object; expected Box"),
    (FREE, [["a", "b"]], "not real: list of the dtype <U1"),
    (FREE, [[1j, 0.0]], "not real: list of the dtype complex128"),
    (FREE, th.zeros(1, 2, dtype=th.complex64), "not real: Tensor of the dtype complex64"),
    (FREE, [[0.0, None]], "not real: list of the dtype object"),
    (FREE, [[0.0, 1.0], [2.0]], "no array"),
    (FREE, np.zeros((1, 3)), "(1, 3): expected (2,) or (n, 2) of Box"),
    (FREE, np.zeros((1, 1, 2)), "(1, 1, 2): expected (2,) or (n, 2)"),
    (FREE, np.zeros((0, 2)), "(0, 2): expected (2,) or (n, 2)"),
    (FREE, {"speed": np.zeros(2)}, "a dict: keys ['speed']; expected Box"),
    (SHIFTED, np.zeros((1, 1), int), "(1, 1): expected () or (n,)"),
    (BYTES, np.zeros((3, 3, 3), np.uint8), "(3, 3, 3): expected (1, 1, 2) or (n, 1, 1, 2)"),
]


@pytest.mark.parametrize(("space", "given", "message"), REFUSED)
def test_what_the_space_excludes_is_named(space: spaces.Space, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"bservation.*{re.escape(message)}"):
        checker(space).to_arrays(given)


ROWS = [case for case in REFUSED if isinstance(case[1], list) and len(case[1]) == 1]


@pytest.mark.parametrize(("space", "given", "message"), ROWS)
def test_one_rule_for_batches_single_ones_sequences_and_tensors(
    space: spaces.Space, given: Any, message: str
) -> None:
    """Collecting, terminal observations, contexts of dreams and the torch form of a step."""
    what = message.split(" at ")[0].split("; expected")[0]
    check, rows = checker(space).check, np.array(given)
    batches: list[tuple[Any, int]] = [(rows, 1), (rows[0], 0), (rows[:, None], 2)]
    if rows.dtype.kind in "iuf":
        batches.append((th.as_tensor(rows), 1))
    for batch, axes in batches:
        with pytest.raises(InputError, match=re.escape(what).replace("list", ".*")):
            check(batch, axes)


ACCEPTED: list[tuple[spaces.Space, Any]] = [
    (spaces.Box(-1, 1, (2,), np.float32), [[5.0, -9.0]]),  # as everywhere in SB3
    (SMALL, [[100, -100]]),  # the same
    (SMALL, [[1.0, 2.0]]),
    (FREE, [[3e38, -3e38]]),
    (DOUBLE, [[3e38, 1e-300]]),
    (HALF, [[65504.0, 0.0]]),
    (LONG, [[2**63 - 1, -(2**63)]]),
    (PIXELS, [[[[1.0 + 1e-6, -1.0 - 1e-6]]]]),  # what rounding does
    (BYTES, [[[[0.0, 255.0]]]]),
    (SHIFTED, [-1]),
    (SHIFTED, [1.0]),
    (MULTI, [[3, 2]]),
    (MOVED, [[6, -1]]),
    (BINARY, [[True, False]]),
    (BINARY, np.array([[1.0, 0.0]], np.float16)),
]


@pytest.mark.parametrize(("space", "given"), ACCEPTED)
def test_members_come_in_any_dtype_and_leave_in_the_one_of_the_space(
    space: spaces.Space, given: Any
) -> None:
    rows = np.asarray(given)
    expected = rows.astype(space.dtype)
    forms: list[Any] = [given, rows, rows.astype(rows.dtype.newbyteorder()), th.as_tensor(rows)]
    for form in forms:
        arrays, is_batch = checker(space).to_arrays(form)
        assert is_batch
        assert arrays["observation"].dtype == space.dtype
        np.testing.assert_array_equal(arrays["observation"], expected)
    one, is_batch = checker(space).to_arrays(rows[0])
    assert not is_batch
    np.testing.assert_array_equal(one["observation"], expected)
    assert checker(space).check(th.as_tensor(rows)) == (1,)


def test_arrays_are_copies_that_torch_takes() -> None:
    given = np.arange(6, dtype=np.float32).reshape(3, 2)[::-1]
    given.flags.writeable = False
    arrays, _ = checker(FREE).to_arrays(given)
    assert th.from_numpy(arrays["observation"]).tolist() == given.tolist()
    arrays["observation"][:] = 7
    assert given[0, 0] == 4


def test_images_of_bytes_may_come_channels_last() -> None:
    space = spaces.Box(0, 255, (3, 4, 5), np.uint8)
    last = np.arange(2 * 60, dtype=np.uint8).reshape(2, 4, 5, 3)
    for given, expected in ((last, last), (last[0], last[:1])):
        arrays, is_batch = checker(space).to_arrays(given)
        assert is_batch == (given.ndim == 4)
        np.testing.assert_array_equal(arrays["observation"], np.moveaxis(expected, -1, 1))


BOTH = spaces.Dict({"place": MULTI, "speed": FREE})
GOOD = {"place": np.array([[1, 2], [0, 0]]), "speed": np.ones((2, 2), np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": np.array([[1, 2], [0, 9]])}, r"'place' outside its space: 9 at \(1, 1\)"),
        ({"speed": np.array([[1, 2], [0, NAN]])}, r"'speed' with NaN or infinity: nan at \(1, 1\)"),
        ({"speed": np.ones((3, 2))}, r"different lengths: .*'place'.*2.*'speed'.*3"),
        ({"speed": np.ones(2)}, r"different lengths: .*'place'.*2.*'speed'.*None"),
        ({"color": 3}, r"unknown keys: .*color.*expected \['place', 'speed'\]"),
        ({"speed": None}, r"'speed' of numbers that are not real: NoneType"),
    ],
)
def test_parts_of_a_dict_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checker(BOTH).to_arrays(GOOD | change)


def test_a_dict_needs_its_keys() -> None:
    with pytest.raises(InputError, match=r"missing.*\['place'\]; expected \['place', 'speed'\]"):
        checker(BOTH).to_arrays({"place": GOOD["place"]})
    with pytest.raises(InputError, match="no dict: ndarray; expected the keys"):
        checker(BOTH).to_arrays(GOOD["place"])
    with pytest.raises(InputError, match=r"different lengths: .*\(2,\).*\(1,\)"):
        checker(BOTH).check(GOOD | {"speed": np.ones((1, 2))})


def test_normalized_parts_must_only_be_finite() -> None:
    """VecNormalize makes floats of integers; below it, the replay stores what it was given."""
    space = spaces.Dict({"count": SMALL, "image": PIXELS})
    codec = ObservationCodec(space, normalize_images=False)
    codec.normalized = {"count": 10.0, "image": 10.0}
    check = ObservationChecker(codec).check
    given = {"count": np.array([[-0.5, 300.7]]), "image": np.zeros((1, 1, 1, 2))}
    assert check(given) == (1,)
    arrays, _ = ObservationChecker(codec).to_arrays(given)
    assert arrays["count"].tolist() == [[-0.5, np.float32(300.7)]]
    with pytest.raises(InputError, match="'count' with NaN"):
        check(given | {"count": np.array([[NAN, 0]])})
    bright = given | {"image": np.full((1, 1, 1, 2), 255.0)}
    assert check(bright, raw=True) == (1,)
    with pytest.raises(InputError, match=r"'image' outside its space: 255\.0"):
        check(bright)


@pytest.mark.parametrize(
    "given", [[True, False], np.array([1, 0]), np.array([[1.0], [0.0]]), th.tensor([True, False])]
)
def test_flags_come_as_bools_or_as_zeros_and_ones(given: Any) -> None:
    flags = to_flags(given, 2, "start")
    assert flags.dtype == bool
    assert flags.tolist() == [True, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([True], r"unexpected start shape \(1,\): expected 2 flags"),
        (True, r"shape \(\)"),
        ([1, 2], r"no flags: \[1, 2\]; expected 2 flags"),
        ([NAN, 0], "no flags"),
        (["no", "yes"], "not real"),
        (None, "not real: NoneType"),
    ],
)
def test_other_flags_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"(?i){message}"):
        to_flags(given, 2, "start")


def test_one_flag_is_enough_for_one_row() -> None:
    assert to_flags(True, 1, "start").tolist() == [True]


def test_half_precision_that_numpy_does_not_know() -> None:
    x = to_host(th.tensor([1.5, -2.0], dtype=th.bfloat16), "x", "numbers")
    assert x.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float64, np.float16, np.float32])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_rewards_of_any_number_type(dtype: Any, shape: tuple[int, ...]) -> None:
    given = np.array([0, 1], dtype).reshape(shape)
    rewards = to_rewards(given, 2)
    assert (rewards.dtype, rewards.tolist()) == (np.float32, [0.0, 1.0])
    given[:] = 1  # a simulator may reuse its memory
    assert rewards.tolist() == [0.0, 1.0]
    assert to_rewards(th.tensor([[0.5], [1.0]], dtype=th.bfloat16), 2).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("given", [np.zeros(3), np.zeros((1, 2)), [1j, 0], ["much", 0], None])
def test_what_is_no_reward_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"ewards.*expected 2 real numbers, one of each row"):
        to_rewards(given, 2)
