"""Statistics of a run's ``VecNormalize``, kept beside its model: it cannot see without them."""

import pathlib
import pickle

from stable_baselines3.common.vec_env import VecEnv, VecNormalize

#: File beside ``model.zip``.
NORMALIZER = "vecnormalize.pkl"


def load_normalizer(model: pathlib.Path) -> VecNormalize | None:
    """
    Load the statistics that lie beside a model; they are used and no longer updated.

    :param model: file of the model
    :return: around no environment; None if the model was trained without
    """
    path = model.parent / NORMALIZER
    if not path.exists():
        return None
    with path.open("rb") as file:
        normalizer: VecNormalize = pickle.load(file)
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
