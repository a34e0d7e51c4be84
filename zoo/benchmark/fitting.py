"""Which runs cannot be, found before the first of them begins."""

from collections.abc import Iterable
from functools import partial

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.benchmark.run_config import Run
from dreamzoo.benchmark.runs import make_untrained
from dreamzoo.common.rollout_agent import RolloutAgent
from dreamzoo.common.storage.agents import agent_class
from dreamzoo.envs import make_env


def refuse_unfit(runs: Iterable[Run]) -> None:
    """
    Refuse runs whose agent, environment or settings do not fit.

    One environment of each task is made, and each agent is asked without building its networks or
    its replay.

    Example:
        >>> from dreamzoo.benchmark.comparisons import of_envs
        >>> from dreamzoo.benchmark.fitting import refuse_unfit
        >>> refuse_unfit(of_envs(["CartPole-v1"], ["dreamer_v2", "ppo"]).runs)
        >>> refuse_unfit(of_envs(["CartPole-v1"], ["sac"]).runs)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: sac does not fit CartPole-v1: ...

    :param runs: of any seeds
    :raises ValueError: names all that does not fit, and why
    :raises ImportError: for packages that are not installed, with the line that installs them
    """
    envs: dict[str, VecEnv] = {}
    wrong: dict[str, None] = {}
    try:
        for run in runs:
            agent_class(run.agent)  # what there is not, needs no environment to be refused
            key = f"{run.env} {run.env_kwargs}"
            if key not in envs:
                envs[key] = make_vec_env(partial(make_env, run.env, **dict(run.env_kwargs)))
            try:
                _refuse_short(run, make_untrained(run, envs[key]))
            except (AssertionError, TypeError, ValueError) as error:
                name = f"{run.agent} ({run.label})" if run.label else run.agent
                words = " ".join(str(error).split()).rstrip(".")
                wrong[f"{name} does not fit {run.env}: {words}."] = None
    finally:
        for env in envs.values():
            env.close()
    if wrong:
        raise ValueError(f"{' '.join(wrong)} Leave out what does not fit (--agents, --tasks).")


def _refuse_short(run: Run, agent: BaseAlgorithm) -> None:
    """
    Refuse a training that ends before an agent has learned once.

    :raises ValueError: says how many steps it learns from
    """
    if isinstance(agent, OnPolicyAlgorithm | RolloutAgent):
        collected = agent.n_steps * run.n_envs
        if collected > run.steps:
            raise ValueError(
                f"it learns from {collected:,} steps at a time, and would have {run.steps:,}"
            )
