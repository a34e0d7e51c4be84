"""Models that are destroyed are not saved as good ones, and what is said of them is true."""

import math
import pathlib
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.nn.fast.ranks import place
from dreamzoo.nn.state import leaves

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

#: What to do about numbers that are not finite.
ADVICE = "Look at the observations and rewards of the environment first, then lower learning_rate."


def not_finite(values: Any, name: str = "") -> list[str]:
    """
    Name tensors with NaN or infinity.

    :param values: a tensor or dicts of them, as of SB3's ``get_parameters``: parameters, buffers
        and states of optimizers
    :param name: of the whole
    """
    if isinstance(values, dict):
        parts = (not_finite(part, f"{name} {key}".strip()) for key, part in values.items())
        return [bad for names in parts for bad in names]
    good = not isinstance(values, Tensor) or bool(th.isfinite(values).all())
    return [] if good else [name]


@th.no_grad()
def destroyed(model: "BaseAlgorithm") -> list[str]:
    """
    Name what of a model is not finite: its tensors, or what it makes of an observation of zeros.

    :param model: any agent of SB3's kind; of others than ours only the tensors are looked at
    """
    bad = not_finite(model.get_parameters())
    if bad or not isinstance(model.policy, WorldModelPolicy):
        return bad
    policy, world_model, device = model.policy, model.policy.world_model, model.policy.device
    obs, _ = policy.obs_to_tensor(_zeros(policy.observation_space))
    is_first = th.ones(1, dtype=th.bool, device=device)
    nothing = world_model.initial(1), th.zeros(1, policy.action_codec.dim, device=device)
    latent = world_model.observe(*nothing, obs, is_first, mode=True)
    reward, _ = world_model.predict(latent)
    return not_finite({"latent": dict(enumerate(leaves(latent))), "predicted reward": reward})


def _zeros(space: spaces.Space) -> Any:
    """Return a member of a space with no large numbers."""
    if isinstance(space, spaces.Dict):
        return {key: _zeros(part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
    copy = deepcopy(space)
    copy.seed(0)
    return copy.sample()


def refuse_destroyed(model: "BaseAlgorithm", kept: str) -> None:
    """
    Stop before a destroyed model takes the place of a good one.

    :param model: any agent of SB3's kind
    :param kept: what good model there is
    :raises FloatingPointError: names what is not finite, and the step
    """
    if bad := destroyed(model):
        raise FloatingPointError(
            f"The model is destroyed at step {model.num_timesteps}: {_named(bad)} not finite. It "
            f"was not saved; {kept}. {ADVICE}"
        )


def stop_training(model: "BaseAlgorithm", terms: dict[str, float], what: str = "loss") -> NoReturn:
    """
    Save the model if it is not destroyed, and say what happened.

    :param model: the agent
    :param terms: named numbers, some of them not finite
    :param what: they are
    :raises FloatingPointError: always
    """
    bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
    named = ", ".join(f"{name} = {value}" for name, value in bad.items())
    raise FloatingPointError(
        f"The {what} is not finite at step {model.num_timesteps}, update {model._n_updates}: "
        f"{named}. {_keep(model)} {ADVICE}"
    )


def _keep(model: "BaseAlgorithm") -> str:
    """Save a model that is not destroyed; say what was saved, or what there is to go back to."""
    if bad := destroyed(model):
        last = getattr(model, "last_good_file", None)
        back = f"the last good ones are in {last}" if last else "go back to your last save"
        return (
            f"The parameters are destroyed, too ({_named(bad)} not finite), and not saved: {back}."
        )
    folder = pathlib.Path(model.logger.get_dir() or ".")
    rank = f"_rank{index}" if (index := place().index) else ""
    path = folder / f"last_good_{model.num_timesteps}_steps{rank}.zip"
    kept = "The parameters, which are finite and which no gradient of it has reached,"
    try:
        model.save(path)
    except OSError as error:
        return f"{kept} could not be saved: {error}. Call model.save() to keep them."
    return f"{kept} are saved in {path}."


def _named(bad: list[str]) -> str:
    return f"{bad[0]} is" if len(bad) == 1 else f"{bad[0]} and {len(bad) - 1} others are"
