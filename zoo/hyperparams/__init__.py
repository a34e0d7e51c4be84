"""
Published settings, or ones found here, in RL Zoo's vocabulary, by agent and environment.

Every agent has a module here whose ``hyperparams`` are what :mod:`dreamzoo.rl_zoo` trains with:
these, and on small tasks of Gymnasium settings that no paper has.
"""

from difflib import get_close_matches
from typing import Any

from dreamzoo.envs import env_name
from dreamzoo.hyperparams import discrete_sac, dreamer_v1, dreamer_v2, dreamer_v3, planet

#: Settings by agent (its name in ``dreamzoo.AGENTS``), then by environment
#: (:func:`dreamzoo.envs.make_env`): ``policy``, ``n_timesteps``, ``n_envs``, ``env_kwargs``, and
#: what else the agent's constructor takes.
HYPERPARAMS: dict[str, dict[str, dict[str, Any]]] = {
    "discrete_sac": discrete_sac.published,
    "dreamer_v1": dreamer_v1.published,
    "dreamer_v2": dreamer_v2.published,
    "dreamer_v3": dreamer_v3.published,
    "planet": planet.published,
}
#: What a paper also did with an agent, by agent and name: settings that count instead of those.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "dreamer_v1": dreamer_v1.variants,
    "dreamer_v2": dreamer_v2.variants,
}
#: Variants by agent that are for any environment: of those without an entry they are all that is
#: published.
ANYWHERE: dict[str, tuple[str, ...]] = {"dreamer_v1": dreamer_v1.anywhere}

#: Settings that hold others, which a variant changes one by one.
_GROUPS = ("env_kwargs", "policy_kwargs")

__all__ = ["ANYWHERE", "HYPERPARAMS", "VARIANTS", "published"]


def published(agent: str, env: str, *variants: str) -> dict[str, Any]:
    """
    Look up the published settings of an agent on an environment.

    Example:
        >>> from dreamzoo.hyperparams import published
        >>> settings = published("planet", "dmc_pixels/cartpole-swingup")
        >>> settings["steps"], settings["env_kwargs"]
        (125000, [('action_repeat', 8)])
        >>> published("dreamer_v3", "dmc_vision/walker-walk")["n_envs"]
        16
        >>> row = published("dreamer_v2", "atari/pong", "schedules", "no_kl_balancing")
        >>> dict(row["agent_kwargs"])["kl_balance"] is None
        True
        >>> dict(published("dreamer_v1", "CartPole-v1", "discrete")["agent_kwargs"])["horizon"]
        10

    :param agent: its name in ``dreamzoo.AGENTS``
    :param env: name of the environment
    :param variants: names in ``VARIANTS``; what the last of them says counts
    :return: ``policy``, ``steps`` and ``n_envs``, where an entry of the environment has them, and
        pairs of keys and values: ``env_kwargs``, ``policy_kwargs``, ``agent_kwargs``
    :raises ValueError: if there are none, or there is no such variant
    """
    env = env_name(env)
    known, others = HYPERPARAMS.get(agent, {}), VARIANTS.get(agent, {})
    if not known:
        raise ValueError(
            f"No settings of {agent} are published that could be looked up here, only those of "
            f"{', '.join(HYPERPARAMS)}. Leave --published out; dreamzoo benchmark list names what "
            "was trained with settings of its own."
        )
    for name in variants:
        if name not in others:
            there = f"there are {', '.join(others)}" if others else "it has none"
            raise ValueError(f"No published variant {name!r} of {agent}; {there}.")
    free = ANYWHERE.get(agent, ())
    if env not in known and not any(name in free for name in variants):
        elsewhere = f" On any environment there is the variant {' or '.join(free)}." if free else ""
        nearest = get_close_matches(env, known, n=5, cutoff=0)
        raise ValueError(
            f"No published settings of {agent} on {env}. They are known of {len(known)} "
            f"environments, such as {', '.join(nearest)}.{elsewhere}"
        )
    settings = dict(known.get(env, {}))
    for name in variants:
        groups = {key: {**settings.get(key, {}), **others[name].get(key, {})} for key in _GROUPS}
        settings |= others[name] | {key: group for key, group in groups.items() if group}
    names = {"policy": "policy", "n_timesteps": "steps", "n_envs": "n_envs"}
    return {name: settings.pop(key) for key, name in names.items() if key in settings} | {
        "env_kwargs": list(settings.pop("env_kwargs", {}).items()),
        "policy_kwargs": list(settings.pop("policy_kwargs", {}).items()),
        "agent_kwargs": list(settings.items()),
    }
