"""What classes can be constructed with, and how that is shown."""

import inspect
from typing import Any

import pytest

from dreamzoo.common.arguments import (
    DEFAULTS,
    POLICY_DEFAULTS,
    REPLAY_DEFAULTS,
    Plumbing,
    PolicyPlumbing,
    ReplayPlumbing,
    constructor,
    documented,
    refuse_unknown,
)
from dreamzoo.dreamer_v3 import DreamerV3
from dreamzoo.planet import PlaNet


class Base:
    def __init__(self, a: int = 0, b: int = 1, *, c: int = 2) -> None: ...


class Passing(Base):
    def __init__(self, d: int, *, e: int = 4, **kwargs: Any) -> None: ...


class PassingAll(Base):
    def __init__(self, *args: Any, d: int = 3, **kwargs: Any) -> None: ...


class Closed(Base):
    def __init__(self, d: int) -> None: ...


class Inherited(Closed): ...


class Twice(Passing):
    def __init__(self, b: int = 5, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (Base, "(a: int = 0, b: int = 1, *, c: int = 2)"),
        (Passing, "(d: int, *, a: int = 0, b: int = 1, c: int = 2, e: int = 4)"),
        (PassingAll, "(a: int = 0, b: int = 1, *, c: int = 2, d: int = 3)"),
        (Closed, "(d: int)"),
        (Inherited, "(d: int)"),
        (Twice, "(b: int = 5, *, d: int, e: int = 4, a: int = 0, c: int = 2)"),
    ],
)
def test_arguments_that_are_passed_on_are_shown(kind: type, shown: str) -> None:
    assert str(constructor(kind)) == shown


@pytest.mark.parametrize(
    ("shared", "defaults", "inherited"),
    [
        (Plumbing, DEFAULTS, {}),
        (ReplayPlumbing, REPLAY_DEFAULTS, DEFAULTS),
        (PolicyPlumbing, POLICY_DEFAULTS, {}),
    ],
)
def test_shared_arguments_have_type_default_and_documentation(
    shared: Any, defaults: Any, inherited: Any
) -> None:
    assert set(defaults) == set(shared.__annotations__)
    assert inherited.keys() < defaults.keys() or not inherited
    for name in defaults.keys() - inherited.keys():
        assert f":param {name}: " in shared.__doc__


@pytest.mark.parametrize("kind", [DreamerV3, PlaNet])
def test_agents_show_every_argument_and_document_it(kind: type) -> None:
    parameters = list(inspect.signature(kind).parameters.values())
    by_place = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_place == list(inspect.signature(kind.__init__).parameters)[1 : len(by_place) + 1]  # type: ignore[misc]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert by_name == list(REPLAY_DEFAULTS)
    for name, default in REPLAY_DEFAULTS.items():
        shown = inspect.signature(kind).parameters[name]
        assert shown.default == default
        assert shown.annotation == ReplayPlumbing.__annotations__[name]
    for parameter in parameters:
        assert inspect.getdoc(kind).count(f":param {parameter.name}: ") == 1  # type: ignore[union-attr]


def test_a_users_agent_shows_what_it_adds() -> None:
    class Own(DreamerV3):
        """
        An agent.

        :param extra: of its own
        """

        def __init__(self, *args: Any, extra: int = 1, **kwargs: Any) -> None: ...

    names = list(inspect.signature(Own).parameters)
    assert names == [*inspect.signature(DreamerV3).parameters, "extra"]
    assert (inspect.getdoc(Own) or "").splitlines()[3].startswith(":param train_freq: ")


def test_documentation_without_arguments_stays() -> None:
    assert documented("An agent.", DEFAULTS) == "An agent."
    assert documented(None, DEFAULTS) is None
    given = "An agent.\n\n:param seed: of its own"
    completed = documented(given, DEFAULTS)
    assert completed is not None
    assert completed.startswith(given)
    assert completed.count(":param seed:") == 1
    assert documented(given, ["seed"]) == given  # not an agent's


def test_unknown_names_are_refused_with_the_nearest() -> None:
    refuse_unknown("f()", ["a"], ["a"], ["a"], "Nothing happened")
    with pytest.raises(TypeError, match=r"^f\(\) got gama, .* the nearest name is gamma\. Nothing"):
        refuse_unknown("f()", ["gama"], ["seed"], ["gamma", "seed"], "Nothing happened")


def test_names_that_are_near_to_nothing_get_no_far_one() -> None:
    names = ["gamma", "seed"]
    with pytest.raises(TypeError, match=r"got xyz, which no .* there are gamma, seed\. Nothing"):
        refuse_unknown("f()", ["xyz"], names, names, "Nothing happened")
    with pytest.raises(TypeError, match=r"got gama, xyz, .* the nearest name is gamma\. Nothing"):
        refuse_unknown("f()", ["gama", "xyz"], names, names, "Nothing happened")
