"""Published settings, in the vocabulary of RL Zoo, by agent and environment."""

from typing import Any

from dreamzoo.hyperparams import dreamer_v1, dreamer_v2, planet

#: Settings by agent (its name in ``dreamzoo.AGENTS``), then by environment
#: (:func:`dreamzoo.envs.make_env`): ``policy``, ``n_timesteps``, ``env_kwargs``, and what else the
#: agent's constructor takes.
HYPERPARAMS: dict[str, dict[str, dict[str, Any]]] = {
    "dreamer_v1": dreamer_v1.hyperparams,
    "dreamer_v2": dreamer_v2.hyperparams,
    "planet": planet.hyperparams,
}
#: What a paper also did with an agent, by agent and name: settings that count instead of those.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {"dreamer_v2": dreamer_v2.variants}

#: Settings that hold others, which a variant changes one by one.
_GROUPS = ("env_kwargs", "policy_kwargs")

__all__ = ["HYPERPARAMS", "VARIANTS", "published"]


def published(agent: str, env: str, *variants: str) -> dict[str, Any]:
    """
    Look up the published settings of an agent on an environment.

    Example:
        >>> from dreamzoo.hyperparams import published
        >>> settings = published("planet", "dmc_pixels/cartpole-swingup")
        >>> settings["steps"], settings["env_kwargs"]
        (125000, [('action_repeat', 8)])
        >>> row = published("dreamer_v2", "atari/pong", "schedules", "no_kl_balancing")
        >>> dict(row["agent_kwargs"])["kl_balance"] is None
        True

    :param agent: its name in ``dreamzoo.AGENTS``
    :param env: name of the environment
    :param variants: names in ``VARIANTS``; what the last of them says counts
    :return: ``policy``, ``steps``, and pairs of keys and values: ``env_kwargs``,
        ``policy_kwargs``, ``agent_kwargs``
    :raises ValueError: if there are none
    """
    known, others = HYPERPARAMS.get(agent, {}), VARIANTS.get(agent, {})
    if env not in known:
        raise ValueError(f"No published settings of {agent} on {env}; there are: {sorted(known)}.")
    settings = dict(known[env])
    for name in variants:
        if name not in others:
            raise ValueError(f"No published variant {name!r} of {agent}; there are: {[*others]}.")
        groups = {key: {**settings.get(key, {}), **others[name].get(key, {})} for key in _GROUPS}
        settings |= others[name] | {key: group for key, group in groups.items() if group}
    return {
        "policy": settings.pop("policy"),
        "steps": settings.pop("n_timesteps"),
        "env_kwargs": list(settings.pop("env_kwargs", {}).items()),
        "policy_kwargs": list(settings.pop("policy_kwargs", {}).items()),
        "agent_kwargs": list(settings.items()),
    }
