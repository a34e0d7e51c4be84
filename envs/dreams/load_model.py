"""From whatever names an agent to an agent that has a world model."""

import pathlib
from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo.envs.dreams.agent import AgentWithModel

#: An agent, a file it was saved to, or a function that returns one of these.
Model = AgentWithModel | str | pathlib.Path | Callable[[], Any]


def load_model(model: Model, device: th.device | str = "auto", trusted: bool = False) -> Any:
    """
    Get an agent from whatever names it.

    :param model: an agent, a file written by its ``save``, or a function that returns one of these
    :param device: of a model that is loaded from a file
    :param trusted: also load a file that runs code, see ``dreamzoo.load``
    :raises FileNotFoundError: if there is no such file
    :raises TypeError: for what names no agent
    :raises ValueError: for an agent without a world model, and for a file that holds no agent of
        dreamzoo, or one of a class that is not known here
    """
    if isinstance(model, AgentWithModel):
        return model
    if isinstance(model, BaseAlgorithm):
        raise ValueError(
            f"{type(model).__name__} has no world model, so there is nothing to dream or plan "
            "with. Pass an agent that learns one, such as DreamerV3, or the path of a saved one."
        )
    if callable(model):
        return load_model(model(), device, trusted)
    if not isinstance(model, (str, pathlib.Path)):
        raise TypeError(
            f"model={model!r} must be an agent of dreamzoo, the path of a saved one, or a function "
            "that returns one of these."
        )
    from dreamzoo import load  # from a file to an agent: agents offer dreams of themselves

    return load_model(load(model, device=device, trusted=trusted))  # type: ignore[arg-type]
