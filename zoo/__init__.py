"""World-model agents for people who know Stable-Baselines3 and Gymnasium."""

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dreamzoo.common.storage.agents import load
    from dreamzoo.discrete_sac import DiscreteSAC
    from dreamzoo.dreamer_v1 import DreamerV1
    from dreamzoo.dreamer_v2 import DreamerV2
    from dreamzoo.dreamer_v3 import DreamerV3
    from dreamzoo.merlin import MERLIN, RLLSTM, RLMEM
    from dreamzoo.planet import PlaNet
    from dreamzoo.playing.start import play

    #: Every agent by its RL Zoo name, with a world model or without one.
    AGENTS: dict[str, type[BaseAlgorithm]]

__version__ = "0.2.0"
__all__ = [
    "AGENTS",
    "MERLIN",
    "RLLSTM",
    "RLMEM",
    "DiscreteSAC",
    "DreamerV1",
    "DreamerV2",
    "DreamerV3",
    "PlaNet",
    "__version__",
    "load",
    "play",
]

#: Class of every agent by its RL Zoo name, which is its folder's name, too, unless ``_FOLDERS``
#: names another.
_CLASSES = {
    "dreamer_v3": "DreamerV3",
    "planet": "PlaNet",
    "dreamer_v1": "DreamerV1",
    "dreamer_v2": "DreamerV2",
    "merlin": "MERLIN",
    "rl_mem": "RLMEM",
    "rl_lstm": "RLLSTM",
    "discrete_sac": "DiscreteSAC",
}
_FOLDERS = {"rl_mem": "merlin", "rl_lstm": "merlin"}

gymnasium.register(
    id="dreamzoo/DreamEnv-v0",
    entry_point="dreamzoo.envs:DreamEnv",
    vector_entry_point="dreamzoo.envs:DreamVectorEnv",
)
gymnasium.register(
    id="dreamzoo/CardGame-v0",
    entry_point="dreamzoo.envs:CardGame",
    vector_entry_point="dreamzoo.envs:CardGameVectorEnv",
)
gymnasium.register(
    id="dreamzoo/TMaze-v0",
    entry_point="dreamzoo.envs:TMaze",
    vector_entry_point="dreamzoo.envs:TMazeVectorEnv",
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import agents when they are first used: torch takes seconds, the command line none."""
        if name == "AGENTS":
            value = {key: __getattr__(agent) for key, agent in _CLASSES.items()}
        elif name == "load":
            value = importlib.import_module("dreamzoo.common.storage.agents").load
        elif name == "play":
            value = importlib.import_module("dreamzoo.playing.start").play
        elif name in _CLASSES.values():
            (key,) = (key for key, agent in _CLASSES.items() if agent == name)
            folder = _FOLDERS.get(key, key)
            value = getattr(importlib.import_module(f"dreamzoo.{folder}"), name)
        elif not name.startswith("_") and find_spec(f"dreamzoo.{name}"):
            value = importlib.import_module(f"dreamzoo.{name}")
        else:
            raise AttributeError(f"module 'dreamzoo' has no attribute {name!r}")
        return globals().setdefault(name, value)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
