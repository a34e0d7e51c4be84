"""Comparisons of agents that one command trains, tabulates and draws."""

from dreamzoo.benchmark.comparisons.ablations import ABLATIONS_SMALL
from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.comparisons.discrete import DISCRETE
from dreamzoo.benchmark.comparisons.discrete_sac import DISCRETE_SAC
from dreamzoo.benchmark.comparisons.dmc_proprio import DMC_PROPRIO
from dreamzoo.benchmark.comparisons.latents import LATENTS
from dreamzoo.benchmark.comparisons.memory import MEMORY
from dreamzoo.benchmark.comparisons.of_suite import of_envs, of_suite

#: By the names that ``dreamzoo benchmark`` knows.
COMPARISONS: dict[str, Comparison] = {
    "dmc_proprio": DMC_PROPRIO,
    "discrete": DISCRETE,
    "discrete_sac": DISCRETE_SAC,
    "latents": LATENTS,
    "ablations": ABLATIONS_SMALL,
    "memory": MEMORY,
}

__all__ = ["COMPARISONS", "Comparison", "of_envs", "of_suite"]
