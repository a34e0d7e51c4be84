"""Minecraft: the diamond task of DreamerV3 on the environment class of MineRL."""
