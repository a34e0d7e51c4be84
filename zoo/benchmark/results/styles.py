"""How tables and pictures name and color agents."""

from collections.abc import Iterable
from itertools import cycle
from typing import NamedTuple


class Style(NamedTuple):
    """How tables and pictures show an agent."""

    name: str
    color: str


#: Agents by their names in ``dreamzoo train``, in the order in which they are shown. Runs with a
#: label of their own follow, in :data:`MORE_COLORS`.
AGENTS = {
    "dreamer_v3": Style("DreamerV3", "tab:red"),
    "dreamer_v2": Style("DreamerV2", "tab:purple"),
    "dreamer_v1": Style("DreamerV1", "tab:brown"),
    "planet": Style("PlaNet", "tab:orange"),
    "merlin": Style("MERLIN", "black"),
    "rl_mem": Style("RL-MEM", "darkorange"),
    "rl_lstm": Style("RL-LSTM", "slateblue"),
    "discrete_sac": Style("DiscreteSAC", "deeppink"),
    "sac": Style("SAC", "tab:blue"),
    "ppo": Style("PPO", "tab:green"),
    "recurrent_ppo": Style("RecurrentPPO", "tab:olive"),
    "dqn": Style("DQN", "tab:cyan"),
    "td3": Style("TD3", "teal"),
    "ddpg": Style("DDPG", "navy"),
    "a2c": Style("A2C", "darkkhaki"),
}
MORE_COLORS = ("sienna", "gray", "tab:pink", "gold", "limegreen", "steelblue", "orchid", "salmon")


def styles(agents: Iterable[str]) -> dict[str, Style]:
    """
    Say how to show agents, in order: those of :data:`AGENTS`, then labels.

    Example:
        >>> from dreamzoo.benchmark.results.styles import styles
        >>> [style.name for style in styles(["no images", "sac", "dreamer_v3"]).values()]
        ['DreamerV3', 'SAC', 'no images']

    :param agents: names or labels, each as often as one likes
    """
    found = set(agents)
    labels = sorted(found - AGENTS.keys())
    known = {agent: style for agent, style in AGENTS.items() if agent in found}
    return known | {x: Style(x, c) for x, c in zip(labels, cycle(MORE_COLORS), strict=False)}
