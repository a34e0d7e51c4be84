"""Settings of environments: what stays as it was given while an agent learns."""

import re
from typing import Any

from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from dreamzoo.common.environments.look import Look, stacks_of, were_used

#: So many differences are named in a message.
_NAMED = 6


class EnvSettings:
    """
    Tells what an environment was given from what happens in it.

    A setting is what was there before the first reset and is the same at every look since:
    :meth:`begin` is called before the reset with which training starts, :meth:`look` within it.
    What is changed between two calls of ``learn`` stays a setting, with its new value.

    :param known: what another one's :meth:`as_dict` returned; None: whatever is found
    """

    def __init__(self, known: dict[str, Any] | None = None) -> None:
        #: Settings by place.
        self.values: dict[str, Any] = known["values"] if known else {}
        #: Places of the objects that were there before training.
        self.places: set[str] = known["places"] if known else set()
        #: Whether the environments had been reset before training.
        self.used: bool = known["used"] if known else False
        self._is_new = known is None
        self._env: VecEnv | None = None
        self._objects: dict[str, tuple[int, type]] = {}
        self._due = False

    def as_dict(self) -> dict[str, Any]:
        """Return what an equal one is made from."""
        return {"values": self.values, "places": self.places, "used": self.used}

    def of(self, env: VecEnv) -> "EnvSettings":
        """
        Return these, or new ones if the environments are not those of the last look.

        :param env: training environment
        """
        if self._env is env:
            return self
        return EnvSettings().take(env)

    def take(self, env: VecEnv) -> "EnvSettings":
        """
        Return whose settings these are.

        :param env: training environment
        """
        self._env = env
        return self

    def begin(self) -> None:
        """Look before training goes on: what has changed since was changed by the user."""
        assert self._env is not None
        stacks = stacks_of(self._env)
        if not isinstance(stacks[0][-1], DummyVecEnv):
            return
        look = Look(stacks)
        if self._is_new:
            self._is_new, self.used = False, were_used(stacks)
            self.values, self.places = look.values, set(look.objects)
        self.values = {p: look.values[p] for p in self.values if p in look.values}
        self._objects = {
            place: (id(value), type(value))
            for place, value in look.objects.items()
            if place in self.places
        }
        self._due = True

    def look_once(self) -> None:
        """Look if it is the first time after :meth:`begin`, cheap at every other."""
        if self._due:
            self._due = False
            assert self._env is not None
            self.look(Look(stacks_of(self._env)))

    def look(self, look: Look) -> None:
        """Leave out what is not as it was any more, and what lies in containers that are not."""
        new = look.values
        same = {p: v for p, v in self.values.items() if p in new and _equal(v, new[p])}
        containers = {
            place
            for place in self.values.keys() - same.keys()
            if str(self.values[place]).startswith(("list of", "deque of", "dict of"))
        }
        self.values = {p: v for p, v in same.items() if not look.lies_in(p, containers)}

    def was_there(self, place: str, value: Any) -> bool:
        """Return whether an object was at its place when training went on last."""
        return self._objects.get(place) == (id(value), type(value))


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)


def differences(saved: dict[str, Any], given: dict[str, Any], used: bool) -> list[str]:
    """
    Name the places where environments are given other settings than those that were saved.

    What only one of them has is not compared: environments make some of it in their resets.

    :param saved: settings by place
    :param given: values by place
    :param used: one of the two was reset before the agent had it; flags and what may be missing
        then tell of episodes
    :return: place and both values of each, once for all environments that differ in the same way
    """
    found: dict[tuple[str, str, str], str] = {}
    for place, value in saved.items():
        if place not in given or _equal(value, given[place]):
            continue
        if used and any(v is None or isinstance(v, bool) for v in (value, given[place])):
            continue
        short = re.sub(r"^envs\[\d+\]\.", "", place)
        # A wrapper's record of its arguments says the same as its attribute.
        name = re.split(r"[.\[]", short)[-1].strip("_']")
        key = (name, repr(value), repr(given[place]))
        found.setdefault(key, f"{short} was {value!r} and is now {given[place]!r}")
    return list(found.values())


def describe(differing: list[str]) -> str:
    """
    Join differences for a message.

    :param differing: of :func:`differences`
    """
    more = len(differing) - _NAMED
    listed = ", ".join(differing[:_NAMED])
    return listed if more <= 0 else f"{listed}, and {more} more"
