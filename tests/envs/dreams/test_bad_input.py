"""Bad input gets a clear error, in all faces of a dream."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.error import Error, ResetNeeded
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from dreamzoo.envs.dreams.load_model import load_model
from tests.envs.dreams.conftest import DISCRETE, make_agent

Break = Callable[[DreamerV3], Any]

CONTEXT = {"observations": np.zeros((1, 3, 3), np.float32), "actions": np.ones((1, 2), int)}


def _step(dream: DreamVectorEnv, actions: Any) -> None:
    dream.reset(seed=0)
    dream.step(actions)


def _reset(agent: DreamerV3, **options: Any) -> None:
    DreamVectorEnv(agent, 2).reset(seed=0, options=options)


def _context(agent: DreamerV3, observations: Any) -> None:
    _reset(agent, context=CONTEXT | {"observations": observations})


BROKEN: list[tuple[Break, type[Exception], str]] = [
    (lambda a: DreamVectorEnv(a, 0), ValueError, "num_envs=0"),
    (lambda a: DreamVectorEnv(a, horizon=1), ValueError, "horizon=1"),
    (lambda a: DreamVectorEnv(a, horizon=2.5), ValueError, "horizon=2.5"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, 2.5), ValueError, "num_envs=2.5"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, 2).reset(seed=[3]), ValueError, "each of the 2 dreams"),
    (lambda a: DreamVectorEnv(a, 2).reset(seed=[None, 3]), ValueError, "first not None"),
    (lambda a: DreamVectorEnv(a, observation="pixels"), ValueError, "='pixels' .*decoded"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, start="here"), ValueError, "start='here' .*replay"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, sample_reward="no"), ValueError, "sample_reward='no'.*True or"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, details=2), ValueError, "details=2.*True or"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, termination=2.0), ValueError, "termination=2.0"),
    (lambda a: DreamVectorEnv(a, render_mode="human"), ValueError, "rgb_array"),
    (
        lambda a: DreamVectorEnv(a, autoreset_mode=AutoresetMode.NEXT_STEP),
        ValueError,
        "SAME_STEP or DISABLED",
    ),
    (lambda a: DreamVectorEnv(3), TypeError, "an agent of dreamzoo"),  # type: ignore[arg-type]
    (lambda a: _reset(a, state=3), ValueError, "no state of this model"),
    (lambda a: _reset(a, state=a.world_model.initial(3)), ValueError, "1 or 2 rows"),
    (lambda a: _reset(a, state=a.world_model.initial(1), context=None), ValueError, "or state"),
    (lambda a: DreamVectorEnv(a).step(np.ones(1, int)), ResetNeeded, "reset"),
    (lambda a: DreamEnv(a).step(1), ResetNeeded, "reset"),
    (lambda a: _step(DreamVectorEnv(a, 2), np.ones(3, int)), ValueError, "shape"),
    (lambda a: _step(DreamVectorEnv(a, 2), np.array([1, 9])), ValueError, "not all in"),
    (lambda a: _step(DreamVectorEnv(a, 2), th.tensor([1.5, 1.0])), ValueError, "not all in"),
    (lambda a: _reset(a, nonsense=1), ValueError, "nonsense"),
    (lambda a: _reset(a, reset_mask=np.ones(2, int)), ValueError, "bool"),
    (lambda a: _reset(a, reset_mask=np.ones(2, bool)), ResetNeeded, "all dreams once"),
    (lambda a: _reset(a, reset_mask=["a", "b"]), ValueError, "not real: list of the dtype <U1"),
    (lambda a: _reset(a, reset_mask=[True, None]), ValueError, r"not real.*bool \(2,\)"),
    (lambda a: DreamVectorEnv(a).reset(options=3), ValueError, "options=3; expected a dict"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a).reset(seed=1.5), Error, "integer.*float"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a).reset(seed=-1), Error, "greater or equal to zero"),
    (lambda a: _reset(a, context={"observations": 0}), ValueError, "keys"),
    (lambda a: _reset(a, context=3), ValueError, "context=int; expected a dict"),
    (
        lambda a: _reset(a, context=CONTEXT | {"actions": np.ones((1, 3), int)}),
        ValueError,
        "one less than observations",
    ),
    (
        lambda a: _reset(a, context=CONTEXT | {"observations": np.zeros((1, 3, 4))}),
        ValueError,
        "expected .rows, steps",
    ),
    (
        lambda a: _reset(
            a,
            context={"observations": np.zeros((3, 3, 3)), "actions": np.ones((3, 2), int)},
        ),
        ValueError,
        "1 or 2 rows",
    ),
    *(
        (partial(_context, observations=observations), ValueError, message)
        for observations, message in (
            (
                np.full((1, 3, 3), np.nan),
                r"Context observation with NaN or infinity: nan at \(0,",
            ),
            (np.full((1, 3, 3), 1e39), r"Context observation outside its space: 1e\+39 at"),
            (th.full((1, 3, 3), th.nan), "Context observation with NaN"),
            (None, "not real: NoneType"),
            ([["a"]], "not real: list"),
            (np.zeros((1, 3, 3), complex), "not real"),
            (np.zeros((1, 0, 3)), r"Unexpected context observation shape \(1, 0, 3\)"),
            ({"x": np.zeros((1, 3, 3))}, r"a dict: keys \['x'\]; expected Box"),
        )
    ),
]


@pytest.mark.parametrize(("break_it", "error", "message"), BROKEN)
def test_bad_input_gets_a_clear_error(
    agent: DreamerV3, break_it: Break, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        break_it(agent)


def test_a_step_after_the_end_gets_a_clear_error(agent: DreamerV3) -> None:
    env = DreamEnv(agent, horizon=2, termination=None)
    env.reset(seed=0)
    env.step(1)
    env.step(1)
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(1)


def test_actions_that_are_not_numbers_are_refused_and_others_clipped(
    image_agent: DreamerV3,
) -> None:
    dream = DreamVectorEnv(image_agent, 1)
    with pytest.raises(ValueError, match="not all in"):
        _step(dream, np.full((1, 2), np.nan, np.float32))
    results = []
    for action in ([[2.0, 5.0]], [[7.0, 99.0]]):
        dream.reset(seed=0)
        dream.step(np.array(action, np.float32))
        results.append(dream.latent.feat)
    assert th.equal(*results)


def test_files_that_hold_no_world_model(agent: DreamerV3, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        DreamVectorEnv(tmp_path / "missing.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"text\.zip is not of a form that is safe to read"):
        DreamVectorEnv(tmp_path / "text.zip")
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8).save(tmp_path / "ppo.zip")
    with pytest.raises(ValueError, match="no world model"):
        load_model(tmp_path / "ppo.zip", trusted=True)


def test_an_empty_replay_cannot_be_a_start(agent: DreamerV3, tmp_path: Path) -> None:
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="load_replay_buffer"):
        DreamVectorEnv(tmp_path / "agent.zip", start="replay").reset(seed=0)


def test_contexts_of_integers_are_members() -> None:
    space = spaces.Dict(
        {"place": spaces.MultiDiscrete([3, 2]), "sign": spaces.Discrete(2, start=4)}
    )
    dream = DreamVectorEnv(make_agent(space, DISCRETE, steps=0), 2)
    place, sign = np.array([[[2, 1], [0, 0]]]), np.array([[4, 5]])
    actions = np.ones((1, 1), int)

    def begin(**changed: np.ndarray) -> None:
        observations = {"place": place, "sign": sign} | changed
        dream.reset(options={"context": {"observations": observations, "actions": actions}})

    begin()
    for changed, message in (
        ({"place": place + 1}, r"'place' outside its space: 3 at \(0, 0, 0\)"),
        ({"place": place[:, :, :1]}, r"'place' shape \(1, 2, 1\): expected \(rows, steps, 2\)"),
        ({"sign": sign - 1}, r"'sign' outside its space: 3 at \(0, 0\); expected members of"),
        ({"sign": sign[:, :1]}, r"different lengths: .*\(1, 2\).*\(1, 1\)"),
        ({"more": sign}, "missing or unknown keys"),
    ):
        with pytest.raises(ValueError, match=message):
            begin(**changed)
    begin()
