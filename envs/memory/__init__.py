"""Tasks that cannot be solved without a memory."""

from dreamzoo.envs.memory.card_game import CardGame, CardGameVectorEnv
from dreamzoo.envs.memory.make import make_memory
from dreamzoo.envs.memory.t_maze import TMaze, TMazeVectorEnv

__all__ = ["CardGame", "CardGameVectorEnv", "TMaze", "TMazeVectorEnv", "make_memory"]
