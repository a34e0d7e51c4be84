"""The tasks of this folder by name."""

from typing import Any

import gymnasium as gym

from dreamzoo.envs.errors import find_name

#: What the number behind a task's name is.
_SIZES = {"TMaze": "length", "CardGame": "n_cards"}


def make_memory(name: str, **kwargs: Any) -> gym.Env:
    """
    Make a task that cannot be solved without a memory, by its name and size.

    Example:
        >>> from dreamzoo.envs import make_env
        >>> from dreamzoo.envs.memory import make_memory
        >>> make_memory("TMaze/50").unwrapped.length
        50
        >>> make_env("memory/CardGame/8").action_space  # the same by way of its suite
        Discrete(8)

    :param name: ``TMaze/L`` of L steps to the junction, or ``CardGame/N`` of N cards
    :param kwargs: of ``gymnasium.make``
    :raises ValueError: for another name, a size that is no number, or another size in ``kwargs``
    """
    task, _, size = name.partition("/")
    found = find_name("task of dreamzoo.envs.memory", task, _SIZES)
    if not size.isdecimal():
        what = f"has the size {size!r}" if size else "has no size"
        raise ValueError(f"{name!r} {what}; expected {found}/<{_SIZES[found]}>, a whole number.")
    setting = _SIZES[found]
    if kwargs.get(setting, int(size)) != int(size):
        raise ValueError(f"{name!r} says {setting}={size}, and was given {kwargs[setting]}.")
    settings: dict[str, Any] = {**kwargs, setting: int(size)}
    return gym.make(f"dreamzoo/{found}-v0", **settings)
