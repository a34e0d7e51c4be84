"""The pages of the agents are true: one for each, whose numbers of parameters are counted."""

import re
import sys
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from dreamzoo import AGENTS, DiscreteSAC
from dreamzoo.analysis.sizes import ACTION, IMAGE, VECTOR, sizes_table
from tests.docs.documents import ROOT
from tests.facts import folder_of

PAGES = ROOT / "docs" / "agents"
SIX = spaces.Discrete(6)
#: Rows of the tables: page, first cell, agent, arguments of its policy.
ROWS = [
    ("planet", "`rssm`", "planet", {}),
    ("planet", "`ssm`", "planet", {"dynamics": "ssm"}),
    ("planet", "`rnn`", "planet", {"dynamics": "rnn"}),
    ("dreamer_v1", "Dreamer V1", "dreamer_v1", {}),
    ("dreamer_v2", "defaults, for Atari", "dreamer_v2", {}),
    ("dreamer_v2", "control", "dreamer_v2", {"deter": 200, "cont": False}),
    ("merlin", "MERLIN, `small`", "merlin", {"size": "small"}),
    ("merlin", "MERLIN, `paper`", "merlin", {"size": "paper"}),
    ("merlin", "RL-MEM, `small`", "rl_mem", {"size": "small"}),
    ("merlin", "RL-MEM, `paper`", "rl_mem", {"size": "paper"}),
    ("merlin", "RL-LSTM, `small`", "rl_lstm", {"size": "small", "rows": 0}),
    ("merlin", "RL-LSTM, `paper`", "rl_lstm", {"size": "paper", "rows": 0}),
    ("discrete_sac", "DiscreteSAC", "discrete_sac", {}),
]


def parameters(page: str) -> str:
    """Return the section of an agent's page that counts parameters."""
    text = (PAGES / f"{page}.md").read_text()
    return text.split("\n## Parameters\n")[1].split("\n## ")[0]


def count(policy: BasePolicy) -> int:
    """Count what is updated; slow copies of critics are not."""
    fixed = getattr(policy, "critic_target", th.nn.Module())
    slow = {id(p) for p in fixed.parameters()}
    return sum(p.numel() for p in set(policy.parameters()) if id(p) not in slow)


@pytest.mark.parametrize(("page", "label", "name", "arguments"), ROWS, ids=lambda x: str(x))
def test_parameters_are_as_many_as_the_page_says(
    page: str, label: str, name: str, arguments: dict[str, Any]
) -> None:
    agent = AGENTS[name]
    actions = SIX if agent is DiscreteSAC else ACTION
    counted = []
    for policy, space in [("MlpPolicy", VECTOR), ("CnnPolicy", IMAGE)]:
        # Shapes alone, but for SB3's extractor of images, which reads one to find its own.
        with th.device("cpu" if agent is DiscreteSAC else "meta"):
            made = agent.policy_aliases[policy](space, actions, lambda _: 1e-3, **arguments)
        counted.append(f"{count(made):,}")
    assert f"| {label} | {counted[0]} | {counted[1]} |" in parameters(page)


def test_no_row_of_a_page_is_left_uncounted() -> None:
    for page in {row[0] for row in ROWS}:
        said = re.findall(r"^\| ([^|]+) \| [\d,]+ \|", parameters(page), re.M)
        assert said == [label for other, label, *_ in ROWS if other == page]


def test_sizes_of_dreamer_v3_are_those_that_the_command_prints() -> None:
    assert sizes_table().split("\n", 2)[2] in parameters("dreamer_v3")


def test_every_agent_has_a_page_with_its_settings() -> None:
    for name, agent in AGENTS.items():
        text = (PAGES / f"{folder_of(name)}.md").read_text()
        assert f".. settings:: dreamzoo.{agent.__name__}\n" in text or name == "rl_lstm"
        for heading in ("Equations", "Settings", "Parameters", "Differences", "Results"):
            assert f"\n## {heading}\n" in text


def test_tables_of_settings_show_every_setting_with_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "extensions"))
    settings = __import__("settings")
    monkeypatch.delitem(sys.modules, "settings")
    own = {name: default for name, default, _ in settings.rows("dreamzoo.DreamerV3")}
    assert own["train_ratio"] == "``512``"
    assert own["buffer_size"] == "``1_000_000``"
    assert own["start_cont"] == "``'predicted'``"
    assert not {"policy", "env", "device", "precision", "train_freq"} & set(own)
    shared = {name for name, *_ in settings.rows("dreamzoo.common.arguments.ReplayPlumbing")}
    assert {"device", "precision", "train_freq"} <= shared
