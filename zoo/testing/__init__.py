"""The agent contract as a kit: checks that any agent of Stable-Baselines3 can be put to."""

from dreamzoo.testing.case import Case
from dreamzoo.testing.checking import CHECKS, check_agent
from dreamzoo.testing.promises import DREAMZOO, SB3, BrokenPromise
from dreamzoo.testing.random_env import RandomEnv

__all__ = [
    "CHECKS",
    "DREAMZOO",
    "SB3",
    "BrokenPromise",
    "Case",
    "RandomEnv",
    "check_agent",
]
