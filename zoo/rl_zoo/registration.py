"""RL Zoo learns the names of agents, of environments, and what to search for each agent."""

from functools import partial

import gymnasium as gym

from dreamzoo import AGENTS
from dreamzoo.benchmark.suites import suite, suite_names
from dreamzoo.rl_zoo.search import SEARCHES, as_chosen, sample

INSTALL = 'pip install "dreamzoo[rl-zoo]"'


def register() -> None:
    """
    Make the agents known to RL Zoo, in this process, and the tasks of the suites to Gymnasium.

    ``--algo`` then takes every name in ``dreamzoo.AGENTS``, ``--env`` those that
    :func:`dreamzoo.envs.make_env` has for tasks (but those with two slashes, which are no ids of
    Gymnasium), ``-optimize`` searches what :data:`SEARCHES` lists. RL Zoo's own commands do so,
    too, where they find a module ``custom_envs`` with these two lines:

    Example:
        >>> from dreamzoo.rl_zoo import register
        >>> register()
        >>> from rl_zoo3.utils import ALGOS
        >>> ALGOS["dreamer_v3"].__name__
        'DreamerV3'

    :raises ImportError: without RL Zoo, with the line that installs it
    """
    try:
        from rl_zoo3 import hyperparams_opt, utils
    except ImportError as error:
        raise ImportError(f"RL Zoo cannot be imported ({error}): {INSTALL}") from error
    utils.ALGOS.update(AGENTS)
    for name, search in SEARCHES.items():
        hyperparams_opt.HYPERPARAMS_SAMPLER[name] = partial(sample, search)
        hyperparams_opt.HYPERPARAMS_CONVERTER[name] = as_chosen
    for env in _ids() - gym.registry.keys():
        # Preprocessing and time limits are those of the suite.
        gym.register(env, "dreamzoo.envs:make_env", kwargs={"name": env}, disable_env_checker=True)


def _ids() -> set[str]:
    suites = [found for found in map(suite, suite_names()) if not found.unavailable]
    return {env for found in suites for t in found.tasks for env in t.envs if env.count("/") < 2}
