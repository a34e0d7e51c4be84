"""From whatever names an agent to the agent."""

import io
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.save_util import load_from_zip_file

from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm

#: An agent, a file it was saved to, or a function that returns one of these.
Model = WorldModelAlgorithm | str | pathlib.Path | Callable[[], Any]


def load_model(model: Model, device: th.device | str = "auto") -> WorldModelAlgorithm:
    """
    Get an agent from whatever names it.

    :param model: an agent, a file written by its ``save``, or a function that returns one of these
    :param device: of a model that is loaded from a file
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: if the file does not hold an agent of dreamzoo
    """
    from dreamzoo import AGENTS  # the agents import this package

    if isinstance(model, WorldModelAlgorithm):
        return model
    if callable(model):
        return load_model(model(), device)
    if not isinstance(model, (str, pathlib.Path)):
        raise TypeError(
            f"model={model!r} must be an agent of dreamzoo, the path of a saved one, or a function "
            "that returns one of these."
        )
    path = pathlib.Path(model)
    path = path if path.exists() else pathlib.Path(f"{path}.zip")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {model}; save an agent with agent.save(path).")
    try:
        data, _, _ = load_from_zip_file(io.BytesIO(path.read_bytes()), device="cpu")
        policy_class = (data or {})["policy_class"]
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file that agent.save() wrote: {error}") from error
    for agent in AGENTS.values():
        assert issubclass(agent, WorldModelAlgorithm)
        if isinstance(policy_class, type) and issubclass(policy_class, agent.policy_base):
            return agent.load(path, device=device)
    raise ValueError(
        f"{path} holds an agent with the policy {policy_class}, which has no world model. Expected "
        f"one of {', '.join(agent.__name__ for agent in AGENTS.values())}."
    )
