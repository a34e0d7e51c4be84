"""Published settings, in the vocabulary of RL Zoo, by agent and environment."""

from typing import Any

from dreamzoo.hyperparams import planet

#: Settings by agent (its name in ``dreamzoo.AGENTS``), then by environment
#: (:func:`dreamzoo.envs.make_env`): ``policy``, ``n_timesteps``, ``env_kwargs``, and what else the
#: agent's constructor takes.
HYPERPARAMS: dict[str, dict[str, dict[str, Any]]] = {"planet": planet.hyperparams}

__all__ = ["HYPERPARAMS"]
