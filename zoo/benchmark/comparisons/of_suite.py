"""A comparison of any agents on any tasks: of a suite, or by the names of environments."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gymnasium import spaces

from dreamzoo import AGENTS
from dreamzoo.benchmark.budgets import BUDGETS, Budget
from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.results.aggregates import find_task
from dreamzoo.benchmark.results.evaluations import frames_of_a_step
from dreamzoo.benchmark.run_config import BOARDS, IMAGES, Pairs, Run, default_policy
from dreamzoo.benchmark.suites import Suite, suite
from dreamzoo.envs import env_name, make_env
from dreamzoo.envs.errors import find_name
from dreamzoo.hyperparams import published
from dreamzoo.hyperparams.laptop import laptop

#: Agents that are evaluated as their authors do, with sampled actions and predictions; all others
#: take the most likely ones.
SAMPLED = ("dreamer_v3", "planet")
#: Agents of SB3 that keep single transitions.
_WITH_REPLAY = ("sac", "dqn", "td3", "ddpg")


class Target(NamedTuple):
    """A task, and how many frames agents train on it."""

    env: str
    frames: int


def of_suite(
    name: str,
    agents: Collection[str],
    *,
    tasks: Collection[str] | None = None,
    budget: str = "laptop",
    frames: int | None = None,
) -> Comparison:
    """
    Compare agents on the tasks of a suite. Of bsuite's experiments it is the first setting.

    Example:
        >>> from dreamzoo.benchmark.comparisons import of_suite
        >>> found = of_suite("dmc_proprio", ["dreamer_v3", "sac"], tasks=["cartpole-swingup"])
        >>> found.frames, [(run.agent, run.steps, run.n_envs) for run in found.runs]
        ({'dmc/cartpole-swingup': 50000}, [('dreamer_v3', 25000, 4), ('sac', 25000, 1)])

    :param name: of the suite, see :func:`~dreamzoo.benchmark.suites.suite_names`
    :param agents: in ``dreamzoo.AGENTS``, SB3's in lower case, or recurrent_ppo
    :param tasks: names within the suite; None: all
    :param budget: in :data:`~dreamzoo.benchmark.budgets.BUDGETS`
    :param frames: of a training instead of the budget's
    :raises ValueError: for names that there are not; for a budget without frames where the suite
        has none either; for agents without a paper's settings where these are asked for
    """
    found = suite(name)
    if found.unavailable:
        raise ValueError(f"{found.name} cannot be run. {found.unavailable}")
    chosen = found.tasks if tasks is None else [found.task(task) for task in tasks]
    targets = [Target(task.env, frames or _frames(budget, task.env, found)) for task in chosen]
    return _comparison(found.about, targets, agents, budget)


def of_envs(
    envs: Collection[str],
    agents: Collection[str],
    *,
    budget: str = "laptop",
    frames: int | None = None,
) -> Comparison:
    """
    Compare agents on environments.

    Example:
        >>> from dreamzoo.benchmark.comparisons import of_envs
        >>> runs = of_envs(["CartPole-v1"], ["dqn", "a2c"], budget="smoke").runs
        >>> [(run.agent, run.steps, run.eval_every) for run in runs]
        [('dqn', 2000, 1000), ('a2c', 2000, 1000)]

    :param envs: as :func:`~dreamzoo.envs.make_env` names them
    :param agents: see :func:`of_suite`
    :param budget: see :func:`of_suite`
    :param frames: see :func:`of_suite`
    :raises ValueError: see :func:`of_suite`
    """
    names = list(dict.fromkeys(env_name(env) for env in envs))
    targets = [Target(env, frames or _frames(budget, env, None)) for env in names]
    return _comparison(", ".join(names), targets, agents, budget)


def _frames(budget: str, env: str, of: Suite | None) -> int:
    """Tell how many frames a budget has for a task."""
    frames = _budget(budget).frames
    known = find_task(env) if of is None else next(t for t in of.tasks if t.env == env)
    if frames is None and known is not None:
        frames = known.frames
    if frames is None:
        raise ValueError(
            f"The budget {budget!r} trains for as many frames as a suite has, and there is no such "
            f"number for {env}. Give one (--frames)."
        )
    return frames


def _budget(name: str) -> Budget:
    return BUDGETS[find_name("budget", name, BUDGETS)]


def _comparison(
    about: str, targets: list[Target], agents: Collection[str], budget: str
) -> Comparison:
    names = list(dict.fromkeys(agents))
    what = f"{', '.join(names)} on {about}, budget {budget}"
    runs = tuple(run for target in targets for run in _runs(target, names, _budget(budget)))
    return Comparison(what, dict(targets), None, runs)


def _runs(target: Target, agents: list[str], budget: Budget) -> Iterator[Run]:
    for agent in agents:
        own = agent in AGENTS
        chosen = _own(agent, target.env, budget) if own else _baseline(agent, target, budget)
        chosen.setdefault("policy", default_policy(agent, target.env, chosen["env_kwargs"]))
        repeat = frames_of_a_step(target.env, dict(chosen["env_kwargs"]))
        steps = max(target.frames // repeat, 1)
        yield Run(
            agent,
            target.env,
            Path(),
            **chosen,
            steps=steps,
            eval_every=max(steps // budget.evaluations, 1),
            eval_episodes=budget.episodes,
            deterministic_eval=agent not in SAMPLED,
            save_every=max(steps // budget.saves, 1),
        )


def _own(agent: str, env: str, budget: Budget) -> dict[str, Any]:
    """Choose the settings of an agent of dreamzoo."""
    if budget.settings == "published":
        try:
            settings = published(agent, env)
        except ValueError:
            raise ValueError(
                f"No paper has settings of {agent} on {env}, as the budget 'paper' needs. Leave "
                "the agent out, or take another budget."
            ) from None
        return {name: value for name, value in settings.items() if name != "steps"}
    if budget.settings == "smallest":
        return _arguments(env, AGENTS[agent].smallest, n_envs=2)  # type: ignore[attr-defined]
    found = laptop(
        agent, discrete=_is_discrete(env), images=_has_images(env), boards=_has_boards(env)
    )
    return _arguments(env, found.settings, found.n_envs)


def _baseline(agent: str, target: Target, budget: Budget) -> dict[str, Any]:
    """Choose the settings of an agent of SB3."""
    settings = dict(budget.baselines.get(agent, {}))
    if agent in _WITH_REPLAY and (_has_images(target.env) or _has_boards(target.env)):
        # Of 1,000,000, SB3's default, a save would write what was never filled, too.
        settings.setdefault("buffer_size", min(target.frames, 1_000_000))
    return _arguments(target.env, settings, n_envs=1)


def _arguments(env: str, settings: Any, n_envs: int) -> dict[str, Any]:
    """Sort arguments of an agent into those of a run."""
    flat: Pairs = [("flatten", True)] if env.startswith("dmc/") else []
    return {
        "env_kwargs": flat,
        "policy_kwargs": list(settings.get("policy_kwargs", {}).items()),
        "agent_kwargs": [(key, x) for key, x in settings.items() if key != "policy_kwargs"],
        "n_envs": n_envs,
    }


def _has_images(env: str) -> bool:
    """Tell whether observations are images, or have one among them."""
    return env.partition("/")[0] in (*IMAGES, "minecraft")


def _has_boards(env: str) -> bool:
    """Tell whether observations are boards: images of a few pixels."""
    return env.partition("/")[0] in BOARDS


def _is_discrete(env: str) -> bool:
    """Tell whether actions are discrete, of dm_control without making the environment."""
    if env.partition("/")[0] in ("dmc", "dmc_pixels"):
        return False
    return not isinstance(make_env(env).action_space, spaces.Box)
