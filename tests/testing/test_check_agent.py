"""One call checks any agent of SB3, and says what concerns it."""

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo.testing import CHECKS, DREAMZOO, SB3, BrokenPromise, Case, RandomEnv, check_agent
from dreamzoo.testing.promises import difference
from tests.docs.documents import ROOT

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}}


@pytest.mark.parametrize("agent", [DQN, PPO, SAC])
def test_agents_of_sb3_keep_sb3s_promises(agent: type[BaseAlgorithm]) -> None:
    found = check_agent(agent, promises=SB3, **SMALL)
    assert {"a_loaded_agent_is_the_same", "rows_do_not_mix"} <= set(found.kept)
    assert found.skipped["memory_is_carried"] == "predict() returns no state"
    assert all(found.skipped[n] == "not asked for" for n, c in CHECKS.items() if c.whose != SB3)
    assert {*found.kept, *found.skipped} == set(CHECKS)


def test_all_that_is_broken_is_said_at_once() -> None:
    """Of what is dreamzoo's, SB3's PPO keeps little, and nobody promised it."""
    skip = [n for n in CHECKS if n not in ("observations_of_nan_are_refused", "policies_pickle")]
    skip.remove("evaluating_leaves_training_unchanged")
    with pytest.raises(BrokenPromise) as broken:
        check_agent(PPO, promises=DREAMZOO, skip=skip, **SMALL)
    said = str(broken.value)
    assert "PPO breaks a promise of dreamzoo, 'observations_of_nan_are_refused'" in said
    assert "PPO breaks a promise of dreamzoo, 'evaluating_leaves_training_unchanged'" in said
    assert "Written in: docs/contract.md; checked by dreamzoo.testing.acting" in said
    assert "policies_pickle" not in said


def test_environments_are_the_users_own() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)})
    endless = partial(RandomEnv, space, spaces.Discrete(2), length=10**6)
    assert "logs_have_sb3s_keys" in check_agent(PPO, endless, promises=[SB3], **SMALL).kept
    case = Case(DQN, "CartPole-v1", policy="MlpPolicy", gamma=0.5, **SMALL)
    agent: Any = case.make(2)
    assert agent.gamma == 0.5
    assert agent.env.envs[0].unwrapped.spec.id == "CartPole-v1"
    assert agent.learn(40).ep_info_buffer[0]["l"] == 10  # no episode is longer


def test_what_cannot_be_checked_is_refused() -> None:
    env: Any = RandomEnv()
    for arguments, error, message in (
        (dict(agent_class=RandomEnv), TypeError, "is no class of agents"),
        (dict(agent_class=PPO, env=env), TypeError, "a function that makes an environment"),
        (dict(agent_class=PPO, skip=["memory"]), ValueError, r"no checks \['memory'\]"),
        (dict(agent_class=PPO, promises="gymnasium"), ValueError, "must be 'Stable-Baselines3'"),
    ):
        call: dict[str, Any] = arguments
        with pytest.raises(error, match=message):
            check_agent(**call)


def test_agents_that_say_what_they_take_are_believed() -> None:
    class OneOfFive(DQN):
        action_spaces = (spaces.MultiBinary,)

    assert isinstance(Case(DQN).action_space, spaces.Discrete)
    assert isinstance(Case(OneOfFive).action_space, spaces.MultiBinary)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (
            {"a": [1, np.zeros(2)]},
            {"a": [1, np.array([0, 0.5])]},
            "x['a'][1] differs, by up to 0.5",
        ),
        ({"a": 1}, {"b": 1}, "x has the keys ['a', 'b'] once only"),
        ((1, 2), (1,), "x has 2 parts, and 1"),
        (np.zeros(2), np.zeros(3), "x differs, shapes (2,) and (3,)"),
        (1, 2, "x differs, 1 and 2"),
        ("a", None, "x differs, a and None"),
        (np.array([np.nan]), np.array([np.nan]), ""),
    ],
)
def test_differences_are_named(one: Any, other: Any, said: str) -> None:
    assert difference(one, other, "x") == said
    assert difference(one, one, "x") == ""


def test_the_document_lists_every_promise() -> None:
    text = (ROOT / "docs" / "contract.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    expected = {
        whose: [
            (name, check.text.split(". ")[0].rstrip(".").replace("``", "`"))
            for name, check in CHECKS.items()
            if check.whose == whose
        ]
        for whose in (SB3, DREAMZOO)
    }
    assert listed == expected[SB3] + expected[DREAMZOO]
