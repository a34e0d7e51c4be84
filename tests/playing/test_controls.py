"""Keys and dials fit the action space, and say what they seem to say."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from dreamzoo.playing.controls import Controls

SPACES: list[spaces.Space] = [
    spaces.Discrete(2),
    spaces.Discrete(18, start=3),
    spaces.MultiDiscrete([2, 5]),
    spaces.MultiBinary(3),
    spaces.Box(np.array([-2, 0], np.float32), np.array([2, 5], np.float32)),
    spaces.Box(-1, 1, (20,)),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rest_and_every_end_of_a_control_are_actions(space: spaces.Space) -> None:
    controls = Controls(space)
    tried = [controls.rest, *([i] for i in range(len(controls.choices)))]
    for i, dial in enumerate(controls.dials):
        for end in (dial.low, dial.high):
            tried.append([*controls.rest[:i], end, *controls.rest[i + 1 :]])
    assert len(tried) > 2
    assert all(space.contains(controls.to_env(action)[()]) for action in tried)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_no_key_means_two_things(space: spaces.Space) -> None:
    controls = Controls(space)
    keys = [choice.key for choice in controls.choices]
    keys += [key for dial in controls.dials for key in (dial.less, dial.more)]
    used = [key for key in keys if key]
    assert len(used) == len(set(used))
    assert not set(used) & {" ", "n", "r", "e"}, "keys of the page's own buttons"


def test_a_key_to_the_right_means_more() -> None:
    box = Controls(SPACES[4])
    assert (box.dials[0].less, box.dials[0].more) == ("ArrowLeft", "ArrowRight")
    np.testing.assert_allclose(box.to_env([1.0, -1.0]), [2.0, 0.0])
    assert [choice.key for choice in Controls(spaces.Discrete(3)).choices][2] == "ArrowRight"


def test_actions_of_games_have_the_keys_of_their_names() -> None:
    controls = Controls(spaces.Discrete(4), ["FIRE", "LEFT", "NOOP", "RIGHTFIRE"])
    assert [choice.key for choice in controls.choices] == ["x", "ArrowLeft", "0", "1"]
    assert controls.rest == [2]
    assert controls.returns
    assert not Controls(spaces.Discrete(2)).returns


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (SPACES[0], [2]),
        (SPACES[0], [0.5]),
        (SPACES[0], [-1]),
        (SPACES[0], [0, 1]),
        (SPACES[0], "0"),
        (SPACES[0], None),
        (SPACES[0], [True]),
        (SPACES[2], [1, 5]),
        (SPACES[4], [0.0]),
        (SPACES[4], [float("nan"), 0.0]),
        (SPACES[4], [float("inf"), 0.0]),
        (SPACES[4], [[0.0], [0.0]]),
    ],
    ids=str,
)
def test_what_is_no_action_is_refused(space: spaces.Space, action: Any) -> None:
    with pytest.raises(ValueError, match="is no action here; expected"):
        Controls(space).read(action)
