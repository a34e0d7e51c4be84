"""Environments: real suites in the form the papers use, one call each, and dreams."""

from dreamzoo.envs.atari import DreamerAtariPreprocessing, make_atari
from dreamzoo.envs.bsuite import make_bsuite
from dreamzoo.envs.crafter import make_crafter
from dreamzoo.envs.dmc import make_dmc
from dreamzoo.envs.dreams.env import DreamEnv
from dreamzoo.envs.dreams.vec_env import DreamVecEnv
from dreamzoo.envs.dreams.vector_env import DreamVectorEnv
from dreamzoo.envs.make import env_name, make_env, make_pixels
from dreamzoo.envs.memory.card_game import CardGame, CardGameVectorEnv
from dreamzoo.envs.memory.t_maze import TMaze, TMazeVectorEnv
from dreamzoo.envs.minatar import make_minatar
from dreamzoo.envs.minecraft.make import make_minecraft
from dreamzoo.envs.minigrid import make_minigrid
from dreamzoo.envs.popgym import make_popgym
from dreamzoo.envs.procgen import make_procgen
from dreamzoo.envs.remote.vec_env import RemoteVecEnv
from dreamzoo.envs.vector_env_to_vec_env import VectorEnvToVecEnv

__all__ = [
    "CardGame",
    "CardGameVectorEnv",
    "DreamEnv",
    "DreamVecEnv",
    "DreamVectorEnv",
    "DreamerAtariPreprocessing",
    "RemoteVecEnv",
    "TMaze",
    "TMazeVectorEnv",
    "VectorEnvToVecEnv",
    "env_name",
    "make_atari",
    "make_bsuite",
    "make_crafter",
    "make_dmc",
    "make_env",
    "make_minatar",
    "make_minecraft",
    "make_minigrid",
    "make_pixels",
    "make_popgym",
    "make_procgen",
]
