"""Checklist D1: numbers of parameters, to the digit (specification, section 10)."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v3 import Size, get_size
from dreamzoo.dreamer_v3.policies import DreamerV3Policy

WALKER = spaces.Dict(
    {
        "height": spaces.Box(-np.inf, np.inf, (1,)),
        "orientations": spaces.Box(-np.inf, np.inf, (14,)),
        "velocity": spaces.Box(-np.inf, np.inf, (9,)),
    }
)
SIX = spaces.Box(-1.0, 1.0, (6,))
CARTPOLE, PENDULUM = spaces.Box(-np.inf, np.inf, (4,)), spaces.Box(-np.inf, np.inf, (3,))
TORQUE = spaces.Box(-2.0, 2.0, (1,))
RGB, GRAY = spaces.Box(0, 255, (3, 64, 64), np.uint8), spaces.Box(0, 255, (1, 96, 96), np.uint8)

TASKS = {
    "walker": (WALKER, SIX),
    "cartpole": (CARTPOLE, spaces.Discrete(2)),
    "pendulum": (PENDULUM, TORQUE),
    "vision": (RGB, SIX),
    "rgb": (RGB, spaces.Discrete(18)),
    "gray": (GRAY, spaces.Discrete(18)),
}

TOTALS = {
    ("1m", "walker"): 640_867,
    ("1m", "cartpole"): 637_381,
    ("1m", "pendulum"): 637_188,
    ("1m", "vision"): 686_846,
    ("1m", "rgb"): 688_004,
    ("1m", "gray"): 769_762,
    ("12m", "walker"): 9_738_019,
    ("12m", "cartpole"): 9_724_165,
    ("12m", "pendulum"): 9_723_396,
    ("12m", "vision"): 10_494_158,
    ("12m", "rgb"): 10_498_772,
    ("12m", "gray"): 11_808_850,
    ("25m", "walker"): 21_782_947,
    ("25m", "rgb"): 23_496_244,
    ("25m", "gray"): 26_444_402,
    ("50m", "walker"): 38_612_003,
    ("50m", "rgb"): 41_659_284,
    ("50m", "gray"): 46_900_882,
    ("100m", "walker"): 86_622_499,
    ("100m", "rgb"): 93_482_068,
    ("100m", "gray"): 105_276_626,
    ("200m", "walker"): 153_769_507,
    ("200m", "rgb"): 165_967_124,
    ("200m", "gray"): 186_936_082,
    ("400m", "walker"): 345_473_059,
    ("400m", "rgb"): 372_924_052,
    ("400m", "gray"): 420_106_130,
}

#: Encoder, dynamics, decoder, reward, continue, actor, critic.
PARTS = {
    "walker": (10_112, 364_416, 51_096, 57_663, 41_153, 50_316, 66_111),
    "cartpole": (8_832, 364_160, 49_796, 57_663, 41_153, 49_666, 66_111),
    "vision": (14_304, 376_704, 80_595, 57_663, 41_153, 50_316, 66_111),
}


def _build(size: str, task: str) -> DreamerV3Policy:
    """Build without memory for the numbers themselves."""
    with th.device("meta"):
        return DreamerV3Policy(*TASKS[task], lambda _: 4e-5, size=size)


def _count(module: th.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("size", "task"), TOTALS)
def test_number_of_trained_parameters(size: str, task: str) -> None:
    policy = _build(size, task)
    assert sum(p.numel() for p in policy.trained_parameters()) == TOTALS[size, task]


@pytest.mark.parametrize("task", PARTS)
def test_number_of_parameters_of_every_part(task: str) -> None:
    policy = _build("1m", task)
    model = policy.world_model
    modules = [model.encoder, model.dynamics, model.decoder, model.reward, model.cont]
    parts = [*modules, policy.actor, policy.critic]
    assert tuple(_count(part) for part in parts) == PARTS[task]
    assert _count(policy.critic_target) == 66_111


def test_the_optimizer_holds_everything_but_the_slow_critic() -> None:
    policy = _build("1m", "cartpole")
    held = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    slow = {id(p) for p in policy.critic_target.parameters()}
    assert held == {id(p) for p in policy.parameters()} - slow
    assert not any(p.requires_grad for p in policy.critic_target.parameters())


def test_sizes_follow_the_published_rule() -> None:
    for name, units in [("1m", 64), ("12m", 256), ("200m", 1024), ("400m", 1536)]:
        size = get_size(name)
        assert (size.units, size.deter, size.classes) == (units, 8 * units, units // 16)
        assert (size.stoch, size.blocks, size.bins, size.feat) == (32, 8, 255, 10 * units)
    own = Size(units=8, deter=8, classes=2, cnn_depth=1)
    assert get_size(own) is own


@pytest.mark.parametrize(
    ("width", "value"),
    [
        *(("units", 0), ("deter", -8), ("classes", "4"), ("cnn_depth", 2.0), ("hidden", 0)),
        *(("stoch", None), ("blocks", True), ("bins", 5.0)),
        *(("observation_layers", 101), ("head_layers", -1), ("head_layers", 10**9)),
    ],
)
def test_widths_that_are_none_are_named(width: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Size: {width}={value!r} must be"):
        dataclasses.replace(get_size("debug"), **{width: value})


def test_unknown_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"Unknown model size '2m'.*1m, 12m"):
        get_size("2m")
