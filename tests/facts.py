"""What the shared tests want to know of an agent and cannot read off its class."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamzoo import AGENTS
from dreamzoo.common.memory_agent import MemoryAgent
from dreamzoo.common.rollout_agent import RolloutAgent


@dataclass(frozen=True)
class Facts:
    """
    Facts of one agent; in ``FACTS`` of ``tests/<its folder>/facts.py``, if it has any of its own.

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
    folder = f"tests.{folder_of(agent)}"
    found = importlib.util.find_spec(folder) and importlib.util.find_spec(f"{folder}.facts")
    facts = importlib.import_module(f"{folder}.facts").FACTS if found else Facts()
    return facts[agent] if isinstance(facts, Mapping) else facts


def folder_of(agent: str) -> str:
    """
    Return the folder of ``zoo/`` in which an agent lies; those that share much share one.

    :param agent: its name in ``AGENTS``
    """
    return AGENTS[agent].__module__.split(".")[1]


#: What tests are about decides which agents they are for; the agent contract
#: (tests/sb3/test_contract.py) and devices are for all of ``AGENTS``.
#:
#: Agents that act with a memory; the others are SB3's own algorithms but for their equations.
WITH_MEMORY: dict[str, Any] = {
    name: agent for name, agent in AGENTS.items() if issubclass(agent, MemoryAgent)
}
#: Agents that store what they have done, and learn from windows of it.
HAS_REPLAY: dict[str, Any] = {
    name: agent for name, agent in WITH_MEMORY.items() if hasattr(agent, "save_replay_buffer")
}
#: Agents that learn once from what they have just done.
ON_POLICY: dict[str, Any] = {
    name: agent for name, agent in AGENTS.items() if issubclass(agent, RolloutAgent)
}
#: Agents that dream.
HAS_MODEL: dict[str, Any] = {
    name: agent for name, agent in AGENTS.items() if hasattr(agent, "dream_env")
}
#: Agents that learn their world model from a replay.
WORLD_MODELS: dict[str, Any] = {
    name: agent for name, agent in HAS_MODEL.items() if name in HAS_REPLAY
}
#: One of these for each kind of replay, with latents and without: for tests of what lies between an
#: environment and the replay, which all agents share.
KINDS_OF_REPLAY = [
    *{agent.latent_spec: name for name, agent in reversed(WORLD_MODELS.items())}.values()
]
#: The same with one agent that has none, the cheapest: for tests of what lies between an
#: environment and whatever learns from it.
KINDS_OF_LOOP = [*KINDS_OF_REPLAY, next(reversed(ON_POLICY))]
#: Agents with a replay, and of those without one the first of every folder, the one with most
#: parts: for the many tests of what SB3's users do. Acting, windows and the contract are tested of
#: all.
SHARED = [*HAS_REPLAY, *{folder_of(name): name for name in reversed(ON_POLICY)}.values()]
