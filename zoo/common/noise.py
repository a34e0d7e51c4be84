"""Noise on actions while collecting, SB3's ``ActionNoise``: what fits, for any number of envs."""

from copy import deepcopy

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise


def check_noise(noise: ActionNoise | None, space: spaces.Space) -> None:
    """
    Refuse noise that is neither one number for all actions nor one for each.

    :param noise: None: none
    :param space: action space; only that of a Box gets noise
    :raises ValueError: says how many numbers it gives and how many are needed
    """
    if noise is None or not isinstance(space, spaces.Box):
        return
    base = noise.base_noise if isinstance(noise, VectorizedActionNoise) else noise
    dim = int(np.prod(space.shape))
    state = np.random.get_state()  # the look at a number of noise draws none
    try:
        size, reason = np.size(deepcopy(base)()), ""
    except Exception as error:
        size, reason = 0, f" ({error})"
    finally:
        np.random.set_state(state)
    if size not in (1, dim):
        raise ValueError(
            f"action_noise={noise} gives {size} numbers{reason}; {space} needs "
            f"{dim}, such as NormalActionNoise(np.zeros({dim}), 0.1 * np.ones({dim})), or "
            "NormalActionNoise(np.zeros(1), 0.1 * np.ones(1)): one that is added to all."
        )


def fit_noise(noise: ActionNoise | None, space: spaces.Space, n_envs: int) -> ActionNoise | None:
    """
    Make a noise process for each of several environments, as SB3 does.

    :param noise: of one environment, or of another number of them; None: none
    :param space: action space
    :param n_envs: number of environments
    :raises ValueError: as :func:`check_noise`
    """
    check_noise(noise, space)
    if isinstance(noise, VectorizedActionNoise) and noise.n_envs != n_envs:
        noise = noise.base_noise  # the agent was saved with another number of environments
    if noise is not None and n_envs > 1 and not isinstance(noise, VectorizedActionNoise):
        noise = VectorizedActionNoise(noise, n_envs)
    return noise
