"""The agent contract, kept by every agent of ``AGENTS``: the checks that third parties run, too."""

from functools import cache

import pytest

from dreamzoo import AGENTS
from dreamzoo.testing import CHECKS, Case


@cache
def case(name: str) -> Case:
    """Keep what the checks of an agent share."""
    return Case(AGENTS[name])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("agent", AGENTS)
def test_contract(agent: str, check: str) -> None:
    if why := CHECKS[check].why_not(case(agent)):
        pytest.skip(why)
    CHECKS[check](case(agent))
