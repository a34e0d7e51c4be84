"""Settings for one core and an afternoon, of every agent on any task; none of a paper's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dreamzoo.hyperparams import discrete_sac, dreamer_v1, dreamer_v2, dreamer_v3, merlin, planet


class Laptop(NamedTuple):
    """
    What a laptop trains an agent with.

    :param settings: arguments of its constructor, with ``policy_kwargs`` among them
    :param n_envs: environments
    """

    settings: Mapping[str, Any]
    n_envs: int = 4


_SHARED = {"policy_kwargs": merlin.CALM, **merlin.SHARED}
#: By agents; where actions are discrete, :data:`_DISCRETE` has the first word. On which tasks the
#: settings were found stands where they are.
_LAPTOP: dict[str, Laptop] = {
    "dreamer_v3": Laptop(dreamer_v3.LAPTOP),
    "dreamer_v2": Laptop(dreamer_v2.LAPTOP),
    "dreamer_v1": Laptop(dreamer_v1.LAPTOP),
    "planet": Laptop(planet.LAPTOP, n_envs=1),
    "merlin": Laptop({"policy_kwargs": merlin.CALM, **merlin.MERLIN}, n_envs=16),
    "rl_mem": Laptop(_SHARED, n_envs=16),
    "rl_lstm": Laptop(_SHARED, n_envs=16),
    "discrete_sac": Laptop(discrete_sac.LAPTOP),
}
_DISCRETE: dict[str, Laptop] = {
    "dreamer_v2": Laptop(dreamer_v2.LAPTOP_DISCRETE, n_envs=8),
    "dreamer_v1": Laptop({**dreamer_v1.LAPTOP, **dreamer_v1.variants["discrete"]}),
}
#: An update on images takes many times as long as one on numbers, so there are fewer.
_IMAGES_RATIO = 32
#: Of 100,000 steps on boards as many updates as of 25,000 on numbers, at most.
_BOARDS_RATIO = 64
#: Of the Dreamers before V3, and of PlaNet; V3's comes with its size.
_CNN_DEPTH = {"dreamer_v2": 8, "dreamer_v1": 8, "planet": 8}


def laptop(agent: str, *, discrete: bool, images: bool, boards: bool = False) -> Laptop:
    """
    Look up an agent's settings for one core and an afternoon.

    Example:
        >>> from dreamzoo.hyperparams.laptop import laptop
        >>> found = laptop("dreamer_v3", discrete=False, images=False)
        >>> found.settings["train_ratio"], found.settings["policy_kwargs"]["size"], found.n_envs
        (256, '1m', 4)
        >>> laptop("dreamer_v3", discrete=False, images=True).settings["train_ratio"]
        32

    :param agent: its name in ``dreamzoo.AGENTS``; others have their defaults and one environment
    :param discrete: whether its actions are
    :param images: whether it sees images
    :param boards: whether it sees boards as images of a few pixels
    """
    found = _LAPTOP.get(agent, Laptop({}, n_envs=1))
    found = _DISCRETE.get(agent, found) if discrete else found
    settings = dict(found.settings)
    if (images or boards) and "train_ratio" in settings:
        most = _IMAGES_RATIO if images else _BOARDS_RATIO
        settings["train_ratio"] = min(settings["train_ratio"], most)
    if (images or boards) and agent in _CNN_DEPTH:
        settings["policy_kwargs"] = {**settings["policy_kwargs"], "cnn_depth": _CNN_DEPTH[agent]}
    return Laptop(settings, found.n_envs)
