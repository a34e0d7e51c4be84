"""Statistics of a run's ``VecNormalize``, kept beside its model: it cannot see without them."""

import copy
import math
import pathlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from dreamzoo.common.storage.container import FileError, existing, reading, writing
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.plain import from_json, to_json
from dreamzoo.common.storage.saves import MODEL, within
from dreamzoo.common.storage.training_file import read_earlier
from dreamzoo.nn.observations import SINGLE

#: Where VecNormalize clips observations, unless told otherwise.
VEC_NORMALIZE_CLIP = 10.0
#: File beside ``model.zip``; dreamzoo 0.1 wrote the other one.
NORMALIZER, EARLIER = "vecnormalize.zip", "vecnormalize.pkl"
MEMBER = "statistics.json"
#: What a ``VecNormalize`` is beside its environment.
_KEPT = (
    *("obs_rms", "ret_rms", "clip_obs", "clip_reward", "gamma", "epsilon"),
    *("norm_obs", "norm_reward", "norm_obs_keys", "training"),
)
#: Of one whose statistics are at rest: what ``training`` and ``norm_reward`` are for the agent that
#: learns.
_LEARNED = "in_training"


def save_normalizer(normalizer: VecNormalize, path: pathlib.Path, moment: str = "") -> None:
    """
    Save the statistics of a ``VecNormalize``, and how it uses them.

    :param normalizer: around any environment
    :param path: of the file
    :param moment: of the agent that is saved beside; empty where that is not known
    """
    known = {name: vars(normalizer)[name] for name in _KEPT if name in vars(normalizer)}
    known |= _in_training(normalizer)
    with replaced_file(path, "zip") as file, writing(file, "statistics", moment) as writer:
        writer.write_json(MEMBER, to_json(known, "VecNormalize"))


def load_normalizer(
    model: str | pathlib.Path, trusted: bool = False, training: bool = False
) -> VecNormalize | None:
    """
    Load the statistics that lie beside a model; unless training goes on they only are used.

    Where they only are used rewards are left as they are; what a model says of rewards that it has
    learned normalized :class:`RewardUnit` translates.

    :param model: file of the model, or folder of a :class:`SaveCallback`
    :param trusted: also read the file of dreamzoo 0.1, which runs whatever code is in it
    :param training: go on with them as they were saved
    :return: around no environment; None if the model was trained without
    :raises ValueError: if the file holds something else or is damaged, or if training is to go on
        with statistics of another moment than the model's. Where they only are used, a warning says
        so
    """
    file = pathlib.Path(within(model, MODEL))
    path, earlier = file.parent / NORMALIZER, file.parent / EARLIER
    if path.exists():
        with reading(path, "statistics") as reader:
            normalizer, moment = _made(from_json(reader.read_json(MEMBER))), reader.moment
        _compare(path, moment, existing(file, "zip"), training)
    elif not earlier.exists():
        return None
    elif not trusted:
        raise FileError(
            f"{earlier} is of dreamzoo 0.1, and can run whatever code its author has put in. If "
            "you trust where it comes from, load it with trusted=True."
        )
    else:
        normalizer = read_earlier(earlier)
        if not isinstance(normalizer, VecNormalize):
            found = type(normalizer).__name__
            raise FileError(f"{earlier} holds a {found}; expected a VecNormalize.")
    if not training:
        _put_to_rest(normalizer)
    return normalizer


def _compare(path: pathlib.Path, moment: str, model: pathlib.Path, training: bool) -> None:
    """Look whether statistics were saved at the moment of the model, where both say when."""
    try:
        with reading(model, "agent") as reader:
            of_model = reader.moment
    except (FileNotFoundError, FileError):  # whoever loads it says what is wrong with it
        return
    if not moment or not of_model or moment == of_model:
        return
    said = f"{path} was not saved together with {model}"
    if training:
        raise FileError(f"{said}: training cannot go on as if they belonged together.")
    warnings.warn(
        f"{said}: the agent may see observations that are scaled otherwise than in its training.",
        stacklevel=3,
    )


def _made(known: dict[str, Any]) -> VecNormalize:
    """Make a ``VecNormalize`` around no environment, as one that was unpickled."""
    if not {*known, "obs_rms"} == {*_KEPT}:
        raise ValueError(f"it holds {sorted(known)}")
    if not are_statistics(known["ret_rms"]) or not are_statistics(known.get("obs_rms", {})):
        raise ValueError("its statistics are none")
    normalizer = VecNormalize.__new__(VecNormalize)
    normalizer.__setstate__(known | {"old_reward": np.array([])})
    return normalizer


def are_statistics(value: Any) -> bool:
    """Return whether a value is the statistics of a ``VecNormalize``, or a dict of them."""
    return all(
        isinstance(rms, RunningMeanStd) and vars(rms).keys() == vars(RunningMeanStd()).keys()
        for rms in _parts(value)
    )


def _parts(observed: Any) -> list[Any]:
    return list(observed.values()) if isinstance(observed, dict) else [observed]


def as_in_training(env: VecEnv, model: str | pathlib.Path, trusted: bool = False) -> VecEnv:
    """
    Show observations as a saved model saw them in training; rewards stay as they are.

    :param env: as its own environment was, without ``VecNormalize``
    :param model: file of the model, or folder of a :class:`SaveCallback`
    :param trusted: see :func:`load_normalizer`
    """
    normalizer = load_normalizer(model, trusted)
    if normalizer is None:
        return env
    normalizer.set_venv(env)
    return normalizer


def _put_to_rest(normalizer: VecNormalize) -> None:
    """Learn nothing more, leave rewards as they are, and keep apart what the agent learns from."""
    vars(normalizer)[_LEARNED] = _in_training(normalizer)
    normalizer.training = normalizer.norm_reward = False


def begin_training(env: VecEnv | None) -> None:
    """
    Forget what was known of statistics at rest, where they are learned from now.

    :param env: training environment
    :raises ValueError: for one ``VecNormalize`` around another: statistics of one are kept
    """
    found = normalizers(env)
    if len(found) > 1:
        raise ValueError(
            f"The environment is inside of {len(found)} VecNormalize, and a saved agent keeps the "
            "statistics of the outermost only. Use one VecNormalize."
        )
    for normalizer in found:
        if normalizer.training:
            vars(normalizer).pop(_LEARNED, None)


def _in_training(normalizer: VecNormalize) -> dict[str, bool]:
    """Return what ``training`` and ``norm_reward`` are for the agent that learns."""
    now = {"training": normalizer.training, "norm_reward": normalizer.norm_reward}
    # Whoever has set them since then, to train, is right.
    return now if normalizer.training else vars(normalizer).get(_LEARNED, now)


def _normalizes_rewards(normalizer: VecNormalize) -> bool:
    """Return whether the agent that learns gets normalized rewards."""
    return _in_training(normalizer)["norm_reward"]


@contextmanager
def statistics_at_rest(env: VecEnv) -> Iterator[None]:
    """
    Show observations as in training and rewards as they are, and learn nothing from them.

    Example:
        >>> from dreamzoo.common.environments.normalizer import statistics_at_rest
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> from stable_baselines3.common.vec_env import VecNormalize
        >>> env = VecNormalize(make_vec_env("CartPole-v1"))
        >>> with statistics_at_rest(env):
        ...     env.training, env.norm_reward
        (False, False)
        >>> env.training, env.norm_reward
        (True, True)

    :param env: with any number of ``VecNormalize``, or none
    """
    found = normalizers(env)
    before = [
        {k: v for k, v in vars(x).items() if k in ("training", "norm_reward", _LEARNED)}
        for x in found
    ]
    try:
        for normalizer in found:
            _put_to_rest(normalizer)
        yield
    finally:
        for normalizer, values in zip(found, before, strict=True):
            vars(normalizer).pop(_LEARNED)
            vars(normalizer).update(values)


def normalizers(env: VecEnv | None) -> list[VecNormalize]:
    """Return every ``VecNormalize`` of an environment, the outermost first."""
    found = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize):
            found.append(env)
        env = env.venv
    return found


def at_rest_around(env: VecEnv, known: VecNormalize) -> VecNormalize:
    """
    Use the statistics of training around another environment, and learn nothing there.

    :param env: without ``VecNormalize``
    :param known: whose statistics are copied
    """
    made = VecNormalize(
        env,
        norm_obs=known.norm_obs,
        norm_reward=_normalizes_rewards(known),
        clip_obs=known.clip_obs,
        clip_reward=known.clip_reward,
        gamma=known.gamma,
        epsilon=known.epsilon,
        norm_obs_keys=known.norm_obs_keys,
    )
    if known.norm_obs:
        made.obs_rms = copy.deepcopy(known.obs_rms)
    made.ret_rms = copy.deepcopy(known.ret_rms)
    _put_to_rest(made)
    return made


def as_learned(normalizer: VecNormalize) -> VecNormalize:
    """
    Return a normalizer of rewards, too, if those are what the agent has learned from.

    :param normalizer: whose statistics may be at rest; it stays as it is
    """
    found = VecNormalize.__new__(VecNormalize)
    vars(found).update(vars(normalizer))
    found.norm_reward = _normalizes_rewards(normalizer)
    return found


class RewardUnit(NamedTuple):
    """
    How an environment's rewards and those that an agent has learned are turned into each other.

    They differ for an agent that was trained within a ``VecNormalize`` of rewards.

    Example:
        >>> from dreamzoo.common.environments.normalizer import RewardUnit
        >>> unit = RewardUnit(scale=2.0, clip=10.0)
        >>> float(unit.learned(6.0)), unit.earned(3.0)
        (3.0, 6.0)

    :param scale: the environment's reward for each of the agent's
    :param clip: largest reward that the agent gets
    """

    scale: float = 1.0
    clip: float = math.inf

    @classmethod
    def of(cls, model: BaseAlgorithm | None, env: VecEnv | None = None) -> "RewardUnit":
        """
        Find it for a model.

        :param model: whose own environment says how it has learned; None: there is none to ask
        :param env: says so for a model that was loaded without one
        :raises ValueError: if rewards are normalized twice
        """
        own = None if model is None else model.get_env()
        around = normalizers(env if own is None else own)
        found = [normalizer for normalizer in around if _normalizes_rewards(normalizer)]
        if not found:
            return cls()
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} VecNormalize normalize rewards, one around the other; expected one "
                "at most. Give the others norm_reward=False."
            )
        (one,) = found
        return cls(float(np.sqrt(one.ret_rms.var + one.epsilon)), float(one.clip_reward))

    def learned(self, reward: Any) -> Any:
        """Turn the environment's rewards into those that the agent learns from."""
        return np.clip(reward / self.scale, -self.clip, self.clip)

    def earned(self, reward: Any) -> Any:
        """Turn what the agent expects into rewards, or returns, of the environment."""
        return reward * self.scale


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
                for rms in (*_parts(observed), env.ret_rms):
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
