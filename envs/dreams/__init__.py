"""Learned models as environments: for tensors, for gymnasium and for Stable-Baselines3."""
