"""World-model agents and SB3's on dm_control, from numbers, 50,000 frames."""

from collections.abc import Iterator
from pathlib import Path

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.comparisons.of_suite import of_suite
from dreamzoo.benchmark.run_config import Run
from dreamzoo.hyperparams import planet

FRAMES = 50_000
_ALL = ("walker-walk", "cartpole-swingup", "reacher-easy")
#: Of the budget ``laptop``, half an hour of one core a run: which agents play which tasks.
_TASKS = {
    "dreamer_v3": _ALL,
    **dict.fromkeys(("dreamer_v2", "dreamer_v1"), _ALL[:2]),
    **dict.fromkeys(("sac", "ppo"), _ALL),
}
#: The paper's action repeats for PlaNet; of 50,000 frames it makes fewer steps.
_PLANET_REPEAT = {"walker-walk": 2, "cartpole-swingup": 8}


def _runs() -> Iterator[Run]:
    for agent, tasks in _TASKS.items():
        yield from of_suite("dmc_proprio", [agent], tasks=tasks, frames=FRAMES).runs
    settings = dict(planet.LAPTOP)
    policy_kwargs = settings.pop("policy_kwargs")
    for task, repeat in _PLANET_REPEAT.items():
        yield Run(
            "planet",
            f"dmc/{task}",
            Path(),
            env_kwargs=[("flatten", True), ("action_repeat", repeat)],
            policy_kwargs=list(policy_kwargs.items()),
            agent_kwargs=list(settings.items()),
            steps=FRAMES // repeat,
            eval_every=10_000 // repeat,
            save_every=10_000 // repeat,
        )


DMC_PROPRIO = Comparison(
    "world-model agents and SB3's on dm_control, from numbers, 50,000 frames",
    dict.fromkeys((f"dmc/{task}" for task in _ALL), FRAMES),
    25_000,
    tuple(_runs()),
)
