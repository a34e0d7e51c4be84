"""Environments: real suites in the form the papers use, one call each."""

from dreamzoo.envs.atari import DreamerAtariPreprocessing, make_atari
from dreamzoo.envs.dmc import make_dmc
from dreamzoo.envs.make import make_env, make_pixels

__all__ = ["DreamerAtariPreprocessing", "make_atari", "make_dmc", "make_env", "make_pixels"]
