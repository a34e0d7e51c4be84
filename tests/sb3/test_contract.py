"""The agent contract, kept by every agent of ``AGENTS``: the checks that third parties run, too."""

from functools import cache
from typing import Any

import pytest

from dreamzoo import AGENTS
from dreamzoo.testing import CHECKS, Case
from tests.facts import HAS_REPLAY


@cache
def case(name: str) -> Case:
    """Keep what the checks of an agent share. A few updates are enough to be resumed."""
    fewer: dict[str, Any] = {"train_ratio": 2.0} if name in HAS_REPLAY else {}
    return Case(AGENTS[name], **fewer)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("agent", AGENTS)
def test_contract(agent: str, check: str) -> None:
    if why := CHECKS[check].why_not(case(agent)):
        pytest.skip(why)
    CHECKS[check](case(agent))
