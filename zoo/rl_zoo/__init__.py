"""The agents in RL Zoo: :func:`register` makes them known there; ``dreamzoo rl_zoo`` runs it."""

from dreamzoo.rl_zoo.registration import INSTALL, register
from dreamzoo.rl_zoo.search import SEARCHES

__all__ = ["INSTALL", "SEARCHES", "register"]
