"""Promises about an agent's constructor and its policy."""

import inspect
import math
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from dreamzoo.testing.case import Case
from dreamzoo.testing.promises import DREAMZOO, SB3, promise, require, require_error
from dreamzoo.testing.random_env import RandomEnv

ALGORITHM = "stable_baselines3.common.base_class.BaseAlgorithm"

#: What every algorithm of SB3 takes.
VOCABULARY = {
    "policy", "env", "learning_rate", "stats_window_size", "tensorboard_log", "policy_kwargs",
    "verbose", "seed", "device", "_init_setup_model",
}  # fmt: skip

#: Arguments that SB3 keeps under another name, or not at all.
KEPT_AS = {"stats_window_size": "_stats_window_size"}
NOT_KEPT = {"_init_setup_model", "monitor_wrapper"}


@promise(SB3, f"{ALGORITHM}.__init__ and .load, which passes policy and env alone")
def constructor_speaks_sb3(case: Case) -> None:
    """
    The constructor shows SB3's arguments, policy and env first.

    Every other one has a default.
    """
    shown = case.parameters
    first = list(shown)[:2]
    require(first == ["policy", "env"], f"{first} as the first arguments", "policy and env")
    missing = VOCABULARY - set(shown)
    require(not missing, f"no arguments {sorted(missing)}", "all of SB3's")
    empty = [name for name, p in shown.items() if p.default is inspect.Parameter.empty]
    require(empty == ["policy", "env"], f"no default for {empty}", "defaults for all but two")


@promise(SB3, "stable_baselines3, documentation of every algorithm")
def arguments_are_documented(case: Case) -> None:
    """The docstring of the class names every argument of the constructor as ``:param name:``."""
    text = inspect.getdoc(case.agent_class) or ""
    missing = [name for name in case.parameters if f":param {name}:" not in text]
    require(not missing, f"no ':param' of {missing}", "one for every argument")


@promise(SB3, f"{ALGORITHM}.__init__")
def unknown_arguments_are_refused(case: Case) -> None:
    """An argument that does not exist is refused by name."""
    call = f"{case.agent_class.__name__}(no_such_argument=1)"
    require_error(lambda: case.make(no_such_argument=1), (TypeError,), call, "no_such_argument")


@promise(DREAMZOO, "docs/contract.md")
def arguments_are_stored(case: Case) -> None:
    """
    Every number that the constructor takes is an attribute of the agent under the same name.

    So saving keeps it, and whoever changes it changes the training.
    """
    agent = case.make()
    for name, parameter in case.parameters.items():
        given = case.settings.get(name, parameter.default)
        if name in NOT_KEPT or not isinstance(given, bool | int | float):
            continue
        kept = getattr(agent, KEPT_AS.get(name, name), "no such attribute")
        kept = getattr(kept, "frequency", kept)  # SB3's TrainFreq
        kept = kept(1.0) if callable(kept) else kept  # SB3's schedules
        require(kept == given, f"agent.{name}={kept!r} after {name}={given!r}", f"{given!r}")


@promise(DREAMZOO, "docs/contract.md")
def nan_and_text_are_refused(case: Case) -> None:
    """A number of the constructor refuses NaN and text with a ValueError that names it."""
    for name, parameter in case.parameters.items():
        given = parameter.default
        if isinstance(given, bool) or not isinstance(given, int | float) or name == "verbose":
            continue
        for wrong in (math.nan, "many"):
            call = f"{case.agent_class.__name__}({name}={wrong!r})"

            settings: dict[str, Any] = {name: wrong}
            require_error(partial(case.make, **settings), (ValueError,), call, name)


@promise(SB3, f"{ALGORITHM}.policy_aliases; custom policies in SB3's guide")
def policies_have_names(case: Case) -> None:
    """
    Policies are named MlpPolicy and so on, or passed as classes.

    An unknown name is a ValueError.
    """
    aliases = case.agent_class.policy_aliases
    wrong = [name for name, kind in aliases.items() if not issubclass(kind, BasePolicy)]
    require("MlpPolicy" in aliases, f"the aliases {sorted(aliases)}", "MlpPolicy among them")
    require(not wrong, f"aliases of what is no BasePolicy: {wrong}", "subclasses of BasePolicy")
    policy: Any = case.actor.policy
    own = type("OwnPolicy", (type(policy),), {})
    other = Case(case.agent_class, case.make_single_env, own, case.steps, **case.settings)
    made = type(other.make().policy)
    require(made is own, f"a policy of the class {made}", "the class that was passed")
    other.policy = "NoSuchPolicy"
    require_error(other.make, (ValueError,), "policy='NoSuchPolicy'", "NoSuchPolicy")


def _reads_no_dicts(case: Case) -> str | None:
    return None if "MultiInputPolicy" in case.agent_class.policy_aliases else "no MultiInputPolicy"


@promise(SB3, "stable_baselines3, guide on multiple inputs", _reads_no_dicts)
def dicts_are_learned_from(case: Case) -> None:
    """MultiInputPolicy learns from Dict observations; other policies refuse them, and name it."""
    part = spaces.Box(-1.0, 1.0, (2,), np.float32)
    space = spaces.Dict({"place": part, "kind": spaces.Discrete(3)})
    other = case.with_env(lambda: RandomEnv(space, case.action_space))
    agent = other.learn(other.make())
    _check_actions(agent, other.observations(2))
    other.policy = "MlpPolicy"
    require_error(other.make, (ValueError,), "MlpPolicy for a Dict", "MultiInputPolicy")


@promise(SB3, f"{ALGORITHM}.__init__, supported_action_spaces")
def actions_are_of_their_space(case: Case) -> None:
    """Whatever kind of action space an agent takes, it learns there and acts within it."""
    shifted = spaces.Box(np.array([-3, 0], np.float32), np.array([1, 9], np.float32))
    kinds = [shifted, spaces.Discrete(3), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(2)]
    for space in filter(case.takes, kinds):
        other = case.with_env(partial(RandomEnv, action_space=space))
        agent = other.learn(other.make())  # the environment refuses what is no member
        _check_actions(agent, other.observations(2))


def _check_actions(agent: Any, obs: Any) -> None:
    for deterministic in (True, False):
        for action in agent.predict(obs, deterministic=deterministic)[0]:
            require(
                agent.action_space.contains(action),
                f"the action {action!r} for deterministic={deterministic}",
                f"a member of {agent.action_space}",
            )
