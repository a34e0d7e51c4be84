"""What vector environments do where an episode ends."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from dreamzoo.wrappers.arrays import Array, Tree, namespace, select


def autoreset_mode(env: VectorEnv) -> AutoresetMode:
    """
    Look up when an environment resets ended rows.

    :param env: vector environment
    :raises ValueError: if it does not say
    """
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"{env} has metadata['autoreset_mode'] = {mode!r}, expected a member of "
            "gymnasium.vector.AutoresetMode. Set it to what the environment does."
        )
    return mode


def reset_mask(options: Mapping[str, Any] | None) -> Any:
    """
    Look up which rows a reset is about; do it before, since environments change the options.

    :param options: of the reset
    :return: booleans (B,), or None for all
    """
    return None if options is None else options.get("reset_mask")


def map_final_obs(infos: dict[str, Any], func: Callable[[Tree, Any], Tree]) -> dict[str, Any]:
    """
    Change the last observations of ended rows where SAME_STEP autoreset puts them.

    :param infos: of a step; ``final_obs`` is an object array of single observations (gymnasium's
        numpy environments) or a batch (environments in torch)
    :param func: gets an observation and its row, or a batch and the slice of all rows
    """
    final_obs = infos.get("final_obs")
    if final_obs is None:
        return infos
    if not isinstance(final_obs, np.ndarray) or final_obs.dtype != object:
        return {**infos, "final_obs": func(final_obs, slice(None))}
    changed = np.full_like(final_obs, None)
    for row, obs in enumerate(final_obs):
        changed[row] = None if obs is None else func(obs, row)
    return {**infos, "final_obs": changed}


def merge_infos(rows: Array, new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """
    Take the infos of some rows from one step and those of the others from another.

    A key that one of the two lacks, as gymnasium's do where no row has it, counts as unset.

    :param rows: which to take of ``new``, booleans (B,)
    :param new: infos, arrays (B, ...) or dicts of them; other values are taken whole
    :param old: the same
    """
    merged = {}
    for key in {**old, **new}:
        some = new[key] if key in new else old[key]
        if isinstance(some, dict):
            merged[key] = merge_infos(rows, new.get(key, {}), old.get(key, {}))
        elif not hasattr(some, "ndim") or some.ndim == 0:
            merged[key] = some
        else:
            unset = _unset_like(some)
            merged[key] = select(rows, new.get(key, unset), old.get(key, unset))
    return merged


def _unset_like(x: Array) -> Array:
    return np.full_like(x, None) if x.dtype == object else namespace(x).zeros_like(x)
