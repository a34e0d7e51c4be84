"""World-model agents and SB3's on dm_control, from numbers, 50,000 frames."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run
from dreamzoo.hyperparams import dreamer_v1, dreamer_v2, dreamer_v3, planet

FRAMES = 50_000
_ALL = ("walker-walk", "cartpole-swingup", "reacher-easy")

#: Settings of half an hour of one core, 12,500 updates of 16 x 32, and the tasks of every agent.
_DREAMERS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "dreamer_v3": (_ALL, dreamer_v3.LAPTOP),
    "dreamer_v2": (_ALL[:2], dreamer_v2.LAPTOP),
    "dreamer_v1": (_ALL[:2], dreamer_v1.LAPTOP),
}
#: The paper's action repeats for PlaNet; of 50,000 frames it makes fewer steps.
_PLANET_REPEAT = {"walker-walk": 2, "cartpole-swingup": 8}


def _arguments(settings: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in settings.items() if key != "policy_kwargs"}
    return {
        "policy_kwargs": list(settings["policy_kwargs"].items()),
        "agent_kwargs": list(rest.items()),
    }


def _runs() -> Iterator[Run]:
    common: dict[str, Any] = dict(out=Path(), env_kwargs=[("flatten", True)])
    for agent, (tasks, settings) in _DREAMERS.items():
        for task in tasks:
            yield Run(
                agent,
                f"dmc/{task}",
                **_arguments(settings),
                n_envs=4,
                steps=FRAMES // 2,
                eval_every=2_500,
                save_every=2_500,
                **common,
            )
    for task, repeat in _PLANET_REPEAT.items():
        yield Run(
            "planet",
            f"dmc/{task}",
            Path(),
            env_kwargs=[("flatten", True), ("action_repeat", repeat)],
            **_arguments(planet.LAPTOP),
            steps=FRAMES // repeat,
            eval_every=10_000 // repeat,
            save_every=10_000 // repeat,
        )
    for agent in ("sac", "ppo"):
        for task in _ALL:
            yield Run(
                agent,
                f"dmc/{task}",
                steps=FRAMES // 2,
                eval_every=2_500,
                deterministic_eval=True,
                save_every=FRAMES // 2,
                **common,
            )


DMC_PROPRIO = Comparison(
    "world-model agents and SB3's on dm_control, from numbers, 50,000 frames",
    dict.fromkeys((f"dmc/{task}" for task in _ALL), FRAMES),
    25_000,
    tuple(_runs()),
)
