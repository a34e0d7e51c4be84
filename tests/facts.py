"""What the shared tests want to know of an agent and cannot read off its class."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamzoo import AGENTS


@dataclass(frozen=True)
class Facts:
    """
    Facts of one agent; ``FACTS`` in ``tests/<agent>/facts.py``, if it has any of its own.

    :param wrong: values that its settings do not take
    :param wrong_policy: values that its policy's arguments do not take
    :param losses: keys of the log that name its losses
    :param large: policy arguments of networks that nobody would build by mistake
    :param numbers: settings as numbers of numpy
    :param usual: policy arguments of networks wide enough for low precision
    :param projections: ``features_extractor_kwargs`` that make what its encoder sees of images less
    """

    wrong: list[tuple[str, Any]] = field(default_factory=list)
    wrong_policy: list[tuple[str, Any]] = field(default_factory=list)
    losses: set[str] = field(default_factory=set)
    large: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    projections: tuple[str, ...] = ()


def facts_of(agent: str) -> Facts:
    """
    Return the facts of an agent.

    :param agent: its name in ``AGENTS``
    :return: its own, or none
    """
    name = f"tests.{agent}.facts"
    found = importlib.util.find_spec(f"tests.{agent}") and importlib.util.find_spec(name)
    return importlib.import_module(name).FACTS if found else Facts()


#: Agents that learn a world model from a replay, by name: what most of the shared tests are about.
#: The agent contract (tests/sb3/test_contract.py) is for all.
WORLD_MODELS: dict[str, Any] = {
    name: agent
    for name, agent in AGENTS.items()
    if hasattr(agent, "dream_env") and hasattr(agent, "save_replay_buffer")
}
#: One of these for each kind of replay, with latents and without: for tests of what lies between an
#: environment and the replay, which all agents share.
KINDS_OF_REPLAY = [
    *{agent.latent_spec: name for name, agent in reversed(WORLD_MODELS.items())}.values()
]
