"""DreamerV2 on CartPole-v1 with each kind of latents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from dreamzoo.benchmark.comparisons import discrete
from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run
from dreamzoo.nn.rssm.kinds import LatentsKind

ENV = "CartPole-v1"
STEPS = 20_000
#: Of all kinds: those that DreamerV2 has on this task in ``discrete``, with twice the updates a
#: step, as there are a fifth of the steps.
AGENT_KWARGS: dict[str, Any] = {**discrete.AGENT_KWARGS, "train_ratio": 64}
#: What a kind has beside: temperatures stay at their lower end for the second half. Normal latents
#: are as many as in "No Discrete Latents", see :data:`dreamzoo.hyperparams.dreamer_v2.variants`.
_COOLING: dict[str, Any] = {"latents_kwargs": {"temperature": (1.0, 0.5, STEPS // 2)}}
OF_KIND: dict[LatentsKind, dict[str, Any]] = {
    **{"gumbel": _COOLING, "st_gumbel": _COOLING},
    "gaussian": {"stoch": 50},
}


def _runs() -> Iterator[Run]:
    for kind in get_args(LatentsKind):
        chosen = {"latents": kind, **OF_KIND.get(kind, {})}
        yield Run(
            "dreamer_v2",
            ENV,
            Path(),
            policy_kwargs=list({**discrete.POLICY_KWARGS, **chosen}.items()),
            agent_kwargs=list(AGENT_KWARGS.items()),
            n_envs=8,
            steps=STEPS,
            eval_every=2_000,
            eval_episodes=20,
            save_every=5_000,
            label=f"DreamerV2 {kind}",
        )


LATENTS = Comparison(
    "DreamerV2 with each kind of latents on CartPole-v1, 20,000 steps",
    {ENV: STEPS},
    6_000,
    tuple(_runs()),
)
