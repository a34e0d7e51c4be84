"""Environments: real suites in the form the papers use, one call each."""

from dreamzoo.envs.atari import DreamerAtariPreprocessing, make_atari
from dreamzoo.envs.dmc import make_dmc

__all__ = ["DreamerAtariPreprocessing", "make_atari", "make_dmc"]
