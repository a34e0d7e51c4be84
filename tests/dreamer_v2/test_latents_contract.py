"""The agent contract with every kind of latents; that of the default is in tests/sb3."""

from functools import cache
from typing import Any, get_args

import pytest

from dreamzoo.dreamer_v2 import DreamerV2
from dreamzoo.nn.rssm.kinds import LatentsKind
from dreamzoo.testing import CHECKS, Case
from tests.dreamer_v2.test_latents import settings

OTHERS = [kind for kind in get_args(LatentsKind) if kind != "categorical"]


@cache
def case(kind: str) -> Case:
    """Keep what the checks of an agent share. Codes die often, so that some do in a tiny run."""
    given = {"vq": {"decay": 0.5, "revive": 0.9}, "gaussian": {}}
    line = {"temperature": (2.0, 0.5, 30)}
    fewer: dict[str, Any] = {} if kind == "vq" else {"train_ratio": 2.0}  # codes have to die
    return Case(DreamerV2, **fewer, policy_kwargs=settings(kind, **given.get(kind, line)))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.slow) if k == "st_gumbel" else k for k in OTHERS],
)
def test_the_contract_holds_for_every_kind(kind: str, check: str) -> None:
    """With it saving, exact resuming, dreams and episodes that begin anew."""
    if why := CHECKS[check].why_not(case(kind)):
        pytest.skip(why)
    CHECKS[check](case(kind))


def test_codes_are_revived_in_the_runs_whose_resuming_is_checked() -> None:
    """Otherwise that would say nothing of revived codes."""
    agent = case("vq").trained
    logged = agent.logger.name_to_value
    assert 0.0 < logged["train/codebook_revived"] <= 1.0
    assert agent._n_updates > 2
