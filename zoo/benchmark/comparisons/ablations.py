"""The rows of table 2 of DreamerV2's paper in small: a game of 10x10 pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.comparisons.discrete import AGENT_KWARGS, POLICY_KWARGS
from dreamzoo.benchmark.comparisons.discrete_sac import EVALUATION
from dreamzoo.benchmark.run_config import Run
from dreamzoo.hyperparams import dreamer_v2

STEPS = 40_000
ENV = "minatar/space_invaders"
#: Channels of the first convolution: 40,000 steps take less than an hour of a core.
CNN_DEPTH = 16
#: The paper's rows, by the names of their settings in :mod:`dreamzoo.hyperparams.dreamer_v2`.
ABLATIONS = (
    *("no_layer_norm", "no_reward_gradients", "no_discrete_latents", "no_image_gradients"),
    *("no_kl_balancing", "no_policy_reinforce"),
)


def _run(label: str, changed: dict[str, Any]) -> Run:
    policy = POLICY_KWARGS | {"cnn_depth": CNN_DEPTH}
    return Run(
        "dreamer_v2",
        ENV,
        Path(),
        policy="CnnPolicy",
        policy_kwargs=list((policy | changed.get("policy_kwargs", {})).items()),
        agent_kwargs=list(
            {**AGENT_KWARGS, **{k: v for k, v in changed.items() if k != "policy_kwargs"}}.items()
        ),
        n_envs=8,
        steps=STEPS,
        eval_every=4_000,
        save_every=10_000,
        label=label,
        **EVALUATION,
    )


def _runs() -> Iterator[Run]:
    yield _run("", {})
    for name in ABLATIONS:
        yield _run(name.replace("_", " "), dreamer_v2.variants[name])


ABLATIONS_SMALL = Comparison(
    "DreamerV2 and the ablations of its paper's table 2 on MinAtar's Space Invaders",
    {ENV: STEPS},
    12_000,
    tuple(_runs()),
)
