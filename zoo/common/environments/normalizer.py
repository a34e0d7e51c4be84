"""Statistics of a run's ``VecNormalize``, kept beside its model: it cannot see without them."""

import pathlib
import pickle
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from dreamzoo.nn.observations import SINGLE

#: Where VecNormalize clips observations, unless told otherwise.
VEC_NORMALIZE_CLIP = 10.0
#: File beside ``model.zip``.
NORMALIZER = "vecnormalize.pkl"


def load_normalizer(model: pathlib.Path) -> VecNormalize | None:
    """
    Load the statistics that lie beside a model; they are used and no longer updated.

    :param model: file of the model
    :return: around no environment; None if the model was trained without
    :raises ValueError: if the file holds something else
    """
    path = model.parent / NORMALIZER
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            normalizer = pickle.load(file)
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a complete VecNormalize file: {error}") from error
    if not isinstance(normalizer, VecNormalize):
        raise ValueError(f"{path} holds a {type(normalizer).__name__}; expected a VecNormalize.")
    normalizer.training = normalizer.norm_reward = False
    return normalizer


def as_in_training(env: VecEnv, model: pathlib.Path) -> VecEnv:
    """
    Show observations as a saved model saw them in training; rewards stay as they are.

    :param env: as its own environment was, without ``VecNormalize``
    :param model: file of the model
    """
    normalizer = load_normalizer(model)
    if normalizer is None:
        return env
    normalizer.set_venv(env)
    return normalizer


class Statistics:
    """
    What every ``VecNormalize`` of an environment knows at this moment.

    One of them takes a step in before anyone has looked at it; NaN would stay in for ever.

    :param env: training environment
    """

    def __init__(self, env: VecEnv | None = None) -> None:
        self._kept: list[tuple[Any, dict[str, Any]]] = []
        while isinstance(env, VecEnvWrapper):
            if isinstance(env, VecNormalize):
                self._kept.append((env, {"returns": env.returns.copy()}))
                observed = vars(env).get("obs_rms", {})  # none where only rewards are normalized
                parts = observed.values() if isinstance(observed, dict) else [observed]
                for rms in (*parts, env.ret_rms):
                    self._kept.append((rms, {k: _copy(v) for k, v in vars(rms).items()}))
            env = env.venv

    def restore(self) -> None:
        """Bring them back to that moment, in place: environments for evaluation may share them."""
        for owner, values in self._kept:
            vars(owner).update({k: _copy(v) for k, v in values.items()})


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def normalized_parts(normalizer: VecNormalize | None) -> dict[str, float]:
    """Return the clipping bounds of normalized parts of observations, by the codec's names."""
    if normalizer is None or not normalizer.norm_obs:
        return {}
    return dict.fromkeys(normalizer.norm_obs_keys or [SINGLE], float(normalizer.clip_obs))
