"""
Rewards of the DeepMind Control Suite for many states at once.

The suite rates the one state that its simulator is in. The functions here compute the same from
arrays of states: lengths, targets and thresholds come from the model, which some tasks change at
every reset, and what the simulator would derive from a state is derived here. The tests compare
each with its task.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from dm_control.utils.rewards import tolerance

from dreamzoo.planning.true_simulator import States

#: From a MuJoCo model and states to the reward of each state, between 0 and 1, (...).
Reward = Callable[[Any, States], np.ndarray]


def _position(model: Any, states: States, joint: str) -> np.ndarray:
    """Return the position of a joint with one degree of freedom, (...)."""
    return states.qpos[..., model.joint(joint).qposadr[0]]


def _sensor(model: Any, states: States, sensor: str) -> np.ndarray:
    """Return the first component of a sensor, (...)."""
    return states.sensordata[..., model.sensor(sensor).adr[0]]


def _cartpole(model: Any, states: States) -> np.ndarray:
    """Rate an upright pole in the middle, at rest, under little control."""
    upright = (np.cos(_position(model, states, "hinge_1")) + 1) / 2
    centered = (tolerance(_position(model, states, "slider"), margin=2) + 1) / 2
    control = states.ctrl[..., 0]
    gentle = tolerance(control, margin=1, value_at_margin=0, sigmoid="quadratic")
    velocity = states.qvel[..., model.joint("hinge_1").dofadr[0]]
    at_rest = (tolerance(velocity, margin=5) + 1) / 2
    return upright * (gentle + 4) / 5 * at_rest * centered


def _reacher(model: Any, states: States) -> np.ndarray:
    """Rate a finger that touches the target."""

    def in_plane(position: np.ndarray) -> complex:
        return complex(position[0], position[1])

    shoulder = np.exp(1j * _position(model, states, "shoulder"))
    wrist = np.exp(1j * _position(model, states, "wrist"))
    tip = in_plane(model.body("finger").pos + model.geom("finger").pos)
    hand = in_plane(model.body("hand").pos)
    finger = in_plane(model.body("arm").pos) + shoulder * (hand + wrist * tip)
    target = model.geom("target")
    radii = target.size[0] + model.geom("finger").size[0]
    return tolerance(np.abs(in_plane(target.pos) - finger), bounds=(0, radii))


def _cheetah(model: Any, states: States) -> np.ndarray:
    """Rate running, up to 10 m/s."""
    speed = _sensor(model, states, "torso_subtreelinvel")
    return tolerance(speed, bounds=(10, np.inf), margin=10, value_at_margin=0, sigmoid="linear")


def _finger(model: Any, states: States) -> np.ndarray:
    """Rate a body that spins at 15 rad/s or more."""
    return (_sensor(model, states, "hinge_velocity") <= -15).astype(float)


def _ball_in_cup(model: Any, states: States) -> np.ndarray:
    """Rate a ball that is wholly inside the cup."""
    target = model.site("target")
    inside = np.ones(states.qpos.shape[:-1], dtype=bool)
    for axis, name in ((0, "x"), (2, "z")):
        cup = model.body("cup").pos[axis] + _position(model, states, f"cup_{name}")
        ball = model.body("ball").pos[axis] + _position(model, states, f"ball_{name}")
        distance = np.abs(cup + target.pos[axis] - ball)
        inside &= distance < target.size[axis] - model.geom("ball").size[0]
    return inside.astype(float)


def _walker(model: Any, states: States, speed: float) -> np.ndarray:
    """
    Rate an upright torso at 1.2 m or higher that moves forward.

    :param speed: wanted speed in m/s, 0 rates standing only
    """
    height = model.body("torso").pos[2] + _position(model, states, "rootz")
    high = tolerance(height, bounds=(1.2, np.inf), margin=0.6)
    upright = (np.cos(_position(model, states, "rooty")) + 1) / 2
    standing = (3 * high + upright) / 4
    if speed == 0:
        return standing
    velocity = _sensor(model, states, "torso_subtreelinvel")
    moving = tolerance(
        velocity, bounds=(speed, np.inf), margin=speed / 2, value_at_margin=0.5, sigmoid="linear"
    )
    return standing * (5 * moving + 1) / 6


#: Rewards by the name of their task.
REWARDS: dict[str, Reward] = {
    "ball_in_cup-catch": _ball_in_cup,
    "cartpole-balance": _cartpole,
    "cartpole-swingup": _cartpole,
    "cheetah-run": _cheetah,
    "finger-spin": _finger,
    "reacher-easy": _reacher,
    "reacher-hard": _reacher,
    "walker-run": partial(_walker, speed=8),
    "walker-stand": partial(_walker, speed=0),
    "walker-walk": partial(_walker, speed=1),
}
