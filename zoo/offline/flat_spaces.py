"""Spaces within spaces as one Dict of plain ones, which agents can read."""

from typing import Any

from gymnasium import spaces

#: Spaces that are read as they are.
PLAIN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def flat_space(space: spaces.Space[Any], name: str) -> spaces.Space[Any]:
    """
    Return a plain space as it is, and others as a Dict of plain ones with joined names.

    Example:
        >>> from dreamzoo.offline.flat_spaces import flat_space
        >>> from gymnasium import spaces
        >>> inner = spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(3)])
        >>> list(flat_space(spaces.Dict(a=inner, b=spaces.Discrete(2)), "it"))
        ['a.0', 'a.1', 'b']

    :param space: of observations or actions
    :param name: of what has it, for the error
    :raises ValueError: for a part that holds no numbers
    """
    return space if isinstance(space, PLAIN) else spaces.Dict(_parts(space, name))


def _parts(space: spaces.Space[Any], name: str, prefix: str = "") -> dict[str, spaces.Space[Any]]:
    if isinstance(space, PLAIN):
        return {prefix.removesuffix("."): space}
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        raise ValueError(
            f"{name} has a part {prefix.removesuffix('.')!r} of the space {space}; expected Box, "
            "Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these."
        )
    found: dict[str, spaces.Space[Any]] = {}
    for key, part in _items(space):
        found |= _parts(part, name, f"{prefix}{key}.")
    return found


def flat_values(space: spaces.Space[Any], values: Any) -> Any:
    """
    Arrange values of a space as :func:`flat_space` arranges it.

    :param space: as it was before
    :param values: of it, with any axes before its own
    """
    if isinstance(space, PLAIN):
        return values
    found: dict[str, Any] = {}

    def visit(space: spaces.Space[Any], values: Any, prefix: str) -> None:
        if isinstance(space, PLAIN):
            found[prefix.removesuffix(".")] = values
            return
        for key, part in _items(space):
            within = values[int(key)] if isinstance(space, spaces.Tuple) else values[key]
            visit(part, within, f"{prefix}{key}.")

    visit(space, values, "")
    return found


def _items(space: Any) -> list[tuple[str, spaces.Space[Any]]]:
    if isinstance(space, spaces.Tuple):
        return [(str(i), part) for i, part in enumerate(space.spaces)]
    return list(space.spaces.items())
