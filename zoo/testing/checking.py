"""All checks by name, and one call that runs those that concern an agent."""

from collections.abc import Collection
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo.testing import acting, constructing, learning, modeling, resuming, saving
from dreamzoo.testing.case import Case, MakeEnv
from dreamzoo.testing.promises import DREAMZOO, SB3, BrokenPromise, Promise

#: Every promise of the contract by its name.
CHECKS: dict[str, Promise] = {
    check.name: check
    for module in (constructing, learning, acting, saving, resuming, modeling)
    for check in vars(module).values()
    if isinstance(check, Promise)
}


class Report(NamedTuple):
    """
    What a check of an agent found.

    :param kept: names of the promises that hold
    :param skipped: names of those that do not concern the agent, and why
    """

    kept: list[str]
    skipped: dict[str, str]


def check_agent(
    agent_class: type[BaseAlgorithm],
    env: str | MakeEnv | None = None,
    policy: str | type | None = None,
    *,
    promises: str | Collection[str] = (SB3, DREAMZOO),
    skip: Collection[str] = (),
    steps: int = 24,
    **settings: Any,
) -> Report:
    """
    Check that an agent keeps what Stable-Baselines3 and dreamzoo promise of theirs.

    It is trained some thirty times for a few steps, so it should be as small as it can be.

    Example:
        >>> from stable_baselines3 import DQN
        >>> from dreamzoo.testing import SB3, check_agent
        >>> found = check_agent(DQN, promises=SB3, policy_kwargs=dict(net_arch=[8]))
        >>> "a_loaded_agent_is_the_same" in found.kept
        True
        >>> found.skipped["memory_is_carried"]
        'predict() returns no state'

    :param agent_class: class of the agent, a ``BaseAlgorithm`` of SB3
    :param env: gymnasium id, or a function that makes an environment, whose episodes are cut after
        ten steps; None: random vectors, and the first kind of actions that the agent takes
    :param policy: alias or class; None: the alias that fits the observations
    :param promises: whose are checked, ``SB3`` or ``DREAMZOO`` or both
    :param skip: names of checks that are left out
    :param steps: after so many steps of one environment the agent has learned something
    :param settings: arguments of the constructor, over those in the class attribute ``smallest``
    :return: which promises hold, and which do not concern the agent
    :raises BrokenPromise: names every promise that is broken, what was found, what was expected,
        and where the promise is written
    :raises ValueError: for names of checks that do not exist
    """
    if unknown := set(skip) - set(CHECKS):
        raise ValueError(f"skip: no checks {sorted(unknown)}; there are {sorted(CHECKS)}.")
    chosen = {promises} if isinstance(promises, str) else set(promises)
    if wrong := chosen - {SB3, DREAMZOO}:
        raise ValueError(f"promises: {sorted(wrong)} must be {SB3!r} or {DREAMZOO!r}, or both.")
    case = Case(agent_class, env, policy, steps, **settings)
    kept, skipped, broken = [], {}, []
    for name, check in CHECKS.items():
        if check.whose not in chosen or name in skip:
            skipped[name] = "not asked for"
        elif (why := check.why_not(case)) is not None:
            skipped[name] = why
        else:
            try:
                check(case)
                kept.append(name)
            except BrokenPromise as error:
                broken.append(error)
    if broken:
        raise BrokenPromise("\n\n".join(map(str, broken))) from broken[0]
    return Report(kept, skipped)
