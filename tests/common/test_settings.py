"""One check for the settings of all agents."""

import math
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from dreamzoo import AGENTS
from dreamzoo.common.settings import Folder, Frequency, Rate, check_rate
from dreamzoo.nn.rssm.relaxed import GumbelLatents
from dreamzoo.nn.settings import (
    Arguments,
    Choice,
    Flag,
    Kind,
    Line,
    Number,
    Setting,
    Whole,
    Widths,
    read_settings,
)

#: No number, though Python or numpy may take some of them for one.
NO_NUMBERS = ["0.5", None, True, np.True_, math.nan, np.float32("nan"), [0.5], np.ones(1), 1j]
STEP, EPISODE = TrainFrequencyUnit.STEP, TrainFrequencyUnit.EPISODE


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        (Number(0, 1), [0, 1, 0.5, np.float32(0.5), np.float64(1), np.int64(0), Fraction(1, 2)]),
        (Number(0), [0, 1e300]),
        (Number(0, none=True), [None, 2.0]),
        (Number(0, above=True, infinite=True), [1e-300, math.inf]),
        (Whole(1), [1, 10**12, np.int64(7), np.uint8(1)]),
        (Whole(-1, none=True), [-1, 0, None]),
        (Rate(), [0, 0.0, 1e-3, np.float32(1e-3)]),
        (Choice(("a", "b")), ["a", "b"]),
        (Flag(), [True, False, np.True_]),
    ],
)
def test_what_fits_comes_back_as_a_value_of_python(setting: Setting, values: list[Any]) -> None:
    for value in values:
        read = setting.read(value)
        assert read == value
        assert not isinstance(read, np.generic)


@pytest.mark.parametrize(
    ("setting", "values", "message"),
    [
        (Number(0, 1), [*NO_NUMBERS, -0.1, 1.1, math.inf], "be between 0 and 1, a finite number$"),
        (Number(0), [*NO_NUMBERS, -1e-9, math.inf], "be at least 0, a finite number$"),
        (Number(0, none=True), ["", -1], "be at least 0, a finite number or None$"),
        (Number(0, above=True, infinite=True), [0, -math.inf], "be more than 0, a number$"),
        (Whole(1), [*NO_NUMBERS, 0, -4, 1.0, np.float32(2)], "be at least 1, a whole number$"),
        (Whole(0, 2**32 - 1), [-1, 2**32], "be between 0 and 4294967295, a whole number$"),
        (
            Widths(),
            [8, "8", [0], [8, 2.5], None, {"pi": [8]}],
            "be a list of widths, whole numbers",
        ),
        (Arguments(), [None, 5, [("a", 1)], {1: "a"}], "be a dict of named arguments$"),
        (Rate(), [*NO_NUMBERS, -1e-3, math.inf], "be at least 0, a finite number$"),
        (Choice(("a", "b")), ["c", None, 0, np.array(["a"])], "be one of 'a' or 'b'$"),
        (Flag(), [0, 1, "no", None], "be True or False$"),
        (Frequency(), ["4", 0, -1, 1.5, (1, "close"), ("1", "step"), None], "be at least 1, a wh"),
    ],
)
def test_what_does_not_fit_is_answered_with_what_does(
    setting: Setting, values: list[Any], message: str
) -> None:
    for value in values:
        with pytest.raises(ValueError, match="^must " + message):
            setting.read(value)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (4, TrainFreq(4, STEP)),
        (np.int64(4), TrainFreq(4, STEP)),
        ((2, "episode"), TrainFreq(2, EPISODE)),
        (TrainFreq(3, EPISODE), TrainFreq(3, EPISODE)),
    ],
)
def test_frequencies_are_read_as_sb3_reads_them(given: Any, read: TrainFreq) -> None:
    assert Frequency().read(given) == read


def test_errors_name_owner_setting_and_value() -> None:
    table = {"a": Whole(1), "b": Number(0, 1)}
    assert read_settings("Agent", table, {"a": np.int64(2), "b": 1, "c": "?"}) == {"a": 2, "b": 1}
    with pytest.raises(ValueError, match=r"^Agent: b='x' must be between 0 and 1, a finite number"):
        read_settings("Agent", table, {"a": 2, "b": "x"})


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1e-4])
def test_schedules_may_not_give_any_number(rate: float) -> None:
    check_rate("Agent", 0.0, 0.0)
    with pytest.raises(ValueError, match=rf"Agent: the learning rate {rate} .* 0\.25 must be at"):
        check_rate("Agent", rate, 0.25)


@pytest.mark.parametrize("owner", [*AGENTS.values(), GumbelLatents])
def test_a_line_that_is_named_as_an_example_is_one(owner: Any) -> None:
    for name, setting in owner.settings.items():
        if isinstance(setting, Line):
            assert setting.read(setting.such_as) == setting.such_as, name
            with pytest.raises(ValueError, match=re.escape(str(setting.such_as))):
                setting.read((0.1, 0.2))


@pytest.mark.parametrize(
    ("setting", "values", "message"),
    [
        (Kind(int), [3, "int", str, None], r"must be a class derived from builtins\.int$"),
        (Kind(int, none=True), ["int"], "builtins.int or None$"),
        (Folder(), [5, b"x", ["x"]], "must be the path of a folder, or None$"),
        (Number(0, 1, above=True), [0, 1.5], "must be more than 0 and at most 1, a finite number$"),
    ],
)
def test_classes_and_folders_are_what_they_are(
    setting: Setting, values: list[Any], message: str
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=message):
            setting.read(value)
    assert Kind(int).read(bool) is bool
    assert Kind(int, none=True).read(None) is None
    assert Folder().read(Path("a") / "b") == os.path.join("a", "b")
