"""Planning by sampled action sequences: in a learned model, or in the true simulator."""

from dreamzoo.planning.cem import CEM, Plan, Rollout, random_shooting

__all__ = ["CEM", "Plan", "Rollout", "random_shooting"]
