"""Values are written as JSON and come back as they were; nothing that is read is called."""

import json
import random
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from dreamzoo.common.storage.plain import NotPlainError, from_json, known_class, to_json
from dreamzoo.dreamer_v3 import SIZES, MlpPolicy


def through(value: Any) -> Any:
    """Write a value, and read it."""
    return from_json(json.loads(json.dumps(to_json(value))))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
HASHED = st.booleans() | st.integers() | st.text() | st.tuples(st.text(), st.integers())
VALUES = st.recursive(
    LEAVES | st.binary() | st.tuples(st.integers()),
    lambda x: (
        st.lists(x) | st.lists(x).map(tuple) | st.dictionaries(HASHED, x) | st.lists(x).map(deque)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_back_with_their_types(value: Any) -> None:
    back = through(value)
    assert repr(back) == repr(value)  # equal are also True and 1, and tuples of them


ARRAYS = [
    np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2],
    np.zeros((0, 3), bool),
    np.array(2.5),
    np.array([np.nan, np.inf]),
    np.array(["a", "bc"]),
    np.float32(2.5),
    np.bool_(True),
]


@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_arrays_and_numbers_keep_dtype_and_shape(array: Any) -> None:
    back = through(array)
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_tensors_and_dtypes_come_back() -> None:
    for tensor in (th.arange(4, dtype=th.uint8), th.tensor(1.5), th.zeros(2, 0)):
        back = through(tensor)
        assert back.dtype == tensor.dtype
        assert th.equal(back, tensor)
    assert through(np.float32) == through(np.dtype(np.float32)) == np.float32


SPACES = [
    spaces.Box(-1, 1, (3,)),
    spaces.Box(np.array([-1, 0.0]), np.array([1.0, np.inf]), dtype=np.float64),
    spaces.Box(0, 255, (3, 200, 300), np.uint8),
    spaces.Discrete(5, start=-2),
    spaces.Discrete(5, dtype=np.int32),
    spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
    spaces.MultiDiscrete([2, 3], start=[1, 0]),
    spaces.MultiBinary(3),
    spaces.MultiBinary((2, 2)),
    spaces.Dict(OrderedDict(z=spaces.Discrete(2), a=spaces.Tuple([spaces.Box(0, 1, ())]))),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_spaces_come_back(space: spaces.Space) -> None:
    back = through(space)
    assert type(back) is type(space)
    assert back == space
    assert (back.dtype, back.shape) == (space.dtype, space.shape)
    assert str(back) == str(space)  # with the order of keys
    assert back.contains(space.sample())


def test_random_streams_go_on() -> None:
    generator = np.random.default_rng(3)
    generator.random(5)
    assert through(generator).random() == generator.random()
    assert through(random.getstate()) == random.getstate()
    state = through(np.random.get_state())
    np.random.RandomState().set_state(state)
    assert state[1].dtype == np.uint32


def test_objects_of_sb3_come_back() -> None:
    schedule = through(FloatSchedule(LinearSchedule(1.0, 0.0, 0.5)))
    assert [schedule(x) for x in (1.0, 0.75, 0.0)] == [1.0, 0.5, 0.0]
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.ones(2))
    noise()
    np.testing.assert_array_equal(through(noise).noise_prev, noise.noise_prev)
    train_freq = TrainFreq(3, TrainFrequencyUnit.EPISODE)
    assert through(train_freq) == train_freq
    assert type(through(train_freq)) is TrainFreq


def test_settings_of_networks_come_back() -> None:
    assert through({"size": SIZES["1m"]}) == {"size": SIZES["1m"]}
    assert through(OrderedDict(b=1, a=[2])) == OrderedDict(b=1, a=[2])
    for name in ("dreamzoo.dreamer_v3:SIZES", "dreamzoo.cli.commands:Command", "os:stat_result"):
        with pytest.raises(ValueError, match="there are no settings"):
            from_json({":dataclass": [name, {}]})


@pytest.mark.parametrize("kind", [th.nn.SiLU, th.optim.AdamW, NatureCNN, MlpPolicy])
def test_classes_of_networks_are_found_by_name(kind: type) -> None:
    assert through({"a": kind}) == {"a": kind}


class _Own(th.nn.Module):
    pass


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (lambda x: x, "it is a builtins.function"),
        ({"net": [1, _Own]}, r"it\['net'\]\[1\] is a builtins.type"),
        ((1, Path("a")), r"it\[1\] is a pathlib"),
        ({"a": np.array([None])}, r"it\['a'\] is an array of object"),
        (spaces.Text(5), "it is a gymnasium.spaces.text.Text"),
        (type("Box", (spaces.Box,), {})(0, 1, (1,)), "it is a .*Box"),
        (th.nn.functional.relu, "it is a builtins.function"),
        (Path, "it is a builtins.type"),
    ],
)
def test_what_only_code_can_say_is_named(value: Any, part: str) -> None:
    with pytest.raises(NotPlainError, match=part):
        to_json(value)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "torch.nn:Module",  # which is of another module
        "torch.utils.cpp_extension:CppExtension",
        "torch.nn.modules.module:OrderedDict",  # which that module has imported
        "torch.nn.functional:relu",
        "dreamzoo.cli:main",
        "dreamzoo.common.storage.container:Reader",
        "dreamzoo.there_is_no:Such",
        "dreamzoos.nn:Module",
        "torch.nn.modules.module:Module.forward",
        "",
    ],
)
def test_other_classes_are_not_found(name: str) -> None:
    assert known_class(name) is None
    with pytest.raises(ValueError, match="there is no class"):
        from_json({":class": name})


def test_nothing_is_imported_to_find_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert known_class("planted:Class") is None


@pytest.mark.parametrize(
    "data",
    [
        {":no_such_tag": 1},
        {":object": ["Popen", {}]},
        {":array": ["|O", [1], "AAAAAAAAAAA="]},
        {":array": ["<f4", [10**9], "AAAA"]},
        {":array": ["<f4", [2], "no base64!"]},
        {":generator": {"bit_generator": "BitGenerator"}},
        {":space": ["Text", {"max_length": 5}]},
        {":tuple": [1], ":set": [2]},
    ],
)
def test_what_is_never_written_is_refused(data: Any) -> None:
    with pytest.raises((ValueError, KeyError)):
        from_json(data)


def test_short_texts_stand_for_little() -> None:
    def box(*shape: int) -> dict[str, Any]:
        return {":space": ["Box", {"shape": list(shape), "dtype": "<f4", "low": 0, "high": 1}]}

    assert from_json([box(100, 100)] * 9)[0].shape == (100, 100)
    multi = {":space": ["MultiBinary", {"n": [10**10]}]}
    for bomb in (box(10**11), [box(1000, 1000)] * 10, multi):
        with pytest.raises(ValueError, match="more than it may promise"):
            from_json(bomb)
