"""What a user's own classes must be, and the optimizers that are made of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch as th
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from dreamzoo.nn.settings import Arguments, Flag, Kind, Setting

#: What a policy builds beside its own networks, or for them.
BUILT: Mapping[str, Setting] = {
    "features_extractor_class": Kind(BaseFeaturesExtractor, none=True),
    "features_extractor_kwargs": Arguments(none=True),
    "normalize_images": Flag(),
    "optimizer_class": Kind(th.optim.Optimizer),
    "optimizer_kwargs": Arguments(none=True),
}


def make_optimizer(
    kind: type[th.optim.Optimizer],
    parameters: Iterable[Tensor],
    rate: float,
    kwargs: Mapping[str, Any],
) -> th.optim.Optimizer:
    """
    Make an optimizer.

    :param kind: its class
    :param parameters: that it moves
    :param rate: learning rate
    :param kwargs: other arguments of the class
    :raises ValueError: if it does not take these
    """
    if "lr" in kwargs:
        raise ValueError(
            f"optimizer_kwargs has lr={kwargs['lr']}, but learning rates are settings of the agent "
            "(learning_rate and what else ends in it). Leave it out."
        )
    make: Any = kind  # torch's own base takes no learning rate
    try:
        return make(parameters, lr=rate, **kwargs)
    except (TypeError, ValueError) as error:
        name = f"{kind.__module__}.{kind.__qualname__}"
        raise ValueError(f"optimizer_kwargs={dict(kwargs)} do not fit {name}: {error}.") from error
