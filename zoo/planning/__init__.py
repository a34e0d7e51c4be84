"""Planning by sampled action sequences: in a learned model, or in the true simulator."""

from dreamzoo.planning.cem import CEM, Plan, Rollout, random_shooting
from dreamzoo.planning.planner import CEMPlanner, ModelRollout
from dreamzoo.planning.true_simulator import TrueSimulator

__all__ = [
    "CEM",
    "CEMPlanner",
    "ModelRollout",
    "Plan",
    "Rollout",
    "TrueSimulator",
    "random_shooting",
]
