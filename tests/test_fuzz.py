"""
Whatever is handed to ``predict``, ``step`` and ``reset``: it is right, or refused by name.

What belongs to a space is said here once more, number by number in Python. Vectors outside the
bounds of a Box belong to it here, as Stable-Baselines3 lets them in; images outside do not.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.error import Error
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamzoo import AGENTS
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from dreamzoo.nn.state import leaves
from tests.facts import HAS_MODEL, HAS_REPLAY, WITH_MEMORY
from tests.sb3.conftest import ACTIONS as TAKEN
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv

IMAGE = spaces.Box(-1.0, 1.0, (1, 8, 8), np.float32)
OBSERVATIONS: dict[str, spaces.Space] = {
    "vector": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "double": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "half": spaces.Box(-9.0, 9.0, (2,), np.float16),
    "mixed": spaces.Dict(
        {
            "flags": spaces.MultiBinary(2),
            "image": IMAGE,
            "place": spaces.MultiDiscrete([3, 2], start=[1, -1]),
            "sign": spaces.Discrete(2, start=4, dtype=np.int32),
            "small": spaces.Box(-3, 9, (2,), np.int8),
        }
    ),
}
BOX = spaces.Box(np.array([-1, 0], np.float32), np.array([2, 7], np.float32))
BYTES = spaces.Box(np.array([-3, 0], np.int8), np.array([9, 1], np.int8))
#: By observations: actions of an agent, the first of them that it takes.
ACTIONS: dict[str, tuple[spaces.Space, ...]] = {
    "vector": (spaces.Discrete(3, start=1), BOX),
    "double": (spaces.MultiBinary(2), BYTES, spaces.Discrete(2)),
    "half": (BYTES, spaces.MultiDiscrete([2, 2]), spaces.Discrete(4)),
    "mixed": (spaces.MultiDiscrete([3, 2]), BOX, spaces.Discrete(3)),
}
CASES = [(agent, name) for agent in WITH_MEMORY for name in OBSERVATIONS]
DREAMS = [(agent, name) for agent, name in CASES if agent in HAS_MODEL]
N = 3

fuzz = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@cache
def make_agent(agent: str, name: str) -> Any:
    mixed = name == "mixed"
    actions = next(space for space in ACTIONS[name] if isinstance(space, TAKEN[agent]))
    widths = TINY_POLICY[agent] | ({"normalize_images": False} if mixed else {})
    kind: Any = AGENTS[agent]
    size = {"buffer_size": 100} if agent in HAS_REPLAY else {}
    return kind(
        "MultiInputPolicy" if mixed else "MlpPolicy",
        RandomEnv(OBSERVATIONS[name], actions),
        policy_kwargs=widths,
        **{**TINY[agent], **size, "seed": 0},
    )


# ---------------------------------------------------------------- what may be handed over

NUMBERS = [0, 1, -1, 2, 3, 4, 5, 9, 0.5, -0.5, 127, 128, -129, 255, 300, 65519.0, 7e4, 2**31, 2**63]
NUMBERS += [1e39, -1e300, math.nan, math.inf, -math.inf]
DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.uint64, np.bool_]
JUNK: list[Any] = [
    None,
    "text",
    b"bytes",
    1j,
    [1, [2]],
    object(),
    {},
    {"a": 1},
    (),
    [],
    [None],
    "3",
]
JUNK += [
    np.array([1j]),
    np.array("text"),
    np.array([None, 1.0]),
    np.datetime64("2020-01-01"),
    print,
]


def members(space: spaces.Space, lead: tuple[int, ...]) -> np.ndarray:
    shape = (*lead, *(space.shape or ()))
    rows = [space.sample() for _ in range(math.prod(lead))]
    return np.stack(rows).reshape(shape) if rows else np.zeros(shape, space.dtype)


@st.composite
def numbers(draw: st.DrawFn, space: spaces.Space, lead: tuple[int, ...]) -> Any:
    """Draw members of a space, often with something wrong."""
    if draw(st.integers(0, 11)) == 0:
        return draw(st.sampled_from(JUNK))
    space.seed(draw(st.integers(0, 9)))
    x = members(space, lead)
    wrong = draw(st.sampled_from(["nothing"] * 4 + ["number", "dtype", "shape"]))
    with np.errstate(all="ignore"):
        if wrong == "dtype":
            x = x.astype(draw(st.sampled_from(DTYPES)))
        if wrong == "number" and x.size:
            number = draw(st.sampled_from(NUMBERS))
            wide: Any = np.float64 if isinstance(number, float) else np.int64
            x = x.astype(np.uint64 if number == 2**63 else wide)
            x.reshape(-1)[draw(st.integers(0, x.size - 1))] = number
    if wrong == "shape":
        shapes: list[Callable[[np.ndarray], np.ndarray]] = [
            lambda x: x[None],
            lambda x: x[..., None],
            lambda x: x[:0],
            lambda x: x.reshape(-1),
            lambda x: np.concatenate([x, x]),
            lambda x: x[..., :-1],
        ]
        x = draw(st.sampled_from(shapes))(x) if x.ndim else x[None]
    form = draw(st.sampled_from(["array", "list", "tensor", "reversed", "swapped"]))
    if form == "list":
        return x.tolist()
    if form == "tensor" and x.dtype.kind != "u":
        return th.as_tensor(np.ascontiguousarray(x))
    if form == "reversed" and x.ndim:
        return x[::-1].copy()[::-1]
    return x.astype(x.dtype.newbyteorder()) if form == "swapped" else x


@st.composite
def observations(draw: st.DrawFn, space: spaces.Space, lead: tuple[int, ...]) -> Any:
    if not isinstance(space, spaces.Dict):
        return draw(numbers(space, lead))
    spoiled = draw(st.sampled_from([*space.spaces, "nothing", "nothing"]))
    parts: dict[Any, Any] = {}
    for name, part in space.spaces.items():
        parts[name] = draw(numbers(part, lead)) if name == spoiled else members(part, lead)
    change = draw(st.sampled_from(["nothing"] * 8 + ["missing", "more", "junk"]))
    if change == "missing":
        del parts[spoiled if spoiled in parts else "sign"]
    if change == "more":
        parts["more"] = 1
    return draw(st.sampled_from(JUNK)) if change == "junk" else parts


# ---------------------------------------------------------------- what belongs to a space


def as_numbers(value: Any) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biuf" else None


def is_number_of(space: spaces.Space, v: float, place: tuple[int, ...]) -> bool:
    if not math.isfinite(v):
        return False
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        if space == IMAGE:
            return -1.002 <= v <= 1.002
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(v)) and np.isfinite(space.dtype.type(v)))
    low, high = 0, 1
    if isinstance(space, spaces.Box):
        low, high = np.iinfo(space.dtype).min, np.iinfo(space.dtype).max
    if isinstance(space, spaces.Discrete):
        low, high = int(space.start), int(space.start + space.n) - 1
    if isinstance(space, spaces.MultiDiscrete):
        low = int(space.start[place])
        high = low + int(space.nvec[place]) - 1
    return v == int(v) and low <= v <= high


def lead_of(space: spaces.Space, value: Any, axes: int) -> tuple[int, ...] | None:
    """Return the sizes of the batch axes; None if something does not belong to the space."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, dict) or value.keys() != space.spaces.keys():
            return None
        leads = {lead_of(part, value[name], axes) for name, part in space.spaces.items()}
        return leads.pop() if len(leads) == 1 else None
    array = as_numbers(value)
    own = tuple(space.shape or ())
    if array is None or array.shape[axes:] != own or array.ndim != axes + len(own):
        return None
    flat = array.reshape(-1, *own)
    fits = all(
        is_number_of(space, row[place].item(), place) for row in flat for place in np.ndindex(own)
    )
    return array.shape[:axes] if fits and array.size else None


def is_action(space: spaces.Space, v: float, whole: bool, place: tuple[int, ...]) -> bool:
    """Continuous actions are clipped; integers may come as floats only where SB3 sends them."""
    if isinstance(space, spaces.Box):
        return math.isfinite(v)
    return (whole or isinstance(space, spaces.MultiBinary)) and is_number_of(space, v, place)


def are_actions(space: spaces.Space, value: Any, lead: tuple[int, ...]) -> bool:
    array = as_numbers(value)
    own = tuple(space.shape or ())
    if array is None or array.shape != (*lead, *own):
        return False
    whole = array.dtype.kind != "f" or not array.size
    return all(
        is_action(space, row[place].item(), whole, place)
        for row in array.reshape(-1, *own)
        for place in np.ndindex(own)
    )


def refused(call: Callable[[], Any], *names: str) -> None:
    """Ask for an error that names one of the arguments that are wrong, and says what is right."""
    with pytest.raises((ValueError, Error)) as caught:
        call()
    message = str(caught.value).lower()
    assert any(name in message for name in names), message
    assert any(word in message for word in ("expected", "not all in", "must", "should")), message


# ---------------------------------------------------------------- predict and step


def spoil_state(draw: Callable[..., Any], parts: list[Any]) -> tuple[Any, bool]:
    """Draw a state of the right shapes or another, and say whether it fits."""
    kind = draw(st.sampled_from(["good"] * 4 + ["nan", "dtype", "rows", "part", "parts", "junk"]))
    i = draw(st.integers(0, len(parts) - 1))
    if kind == "nan":
        parts[i].reshape(-1)[-1] = draw(st.sampled_from([math.nan, math.inf]))
    if kind == "dtype":
        parts[i] = parts[i].astype(draw(st.sampled_from([np.float64, np.float16, np.int64])))
    if kind == "rows":
        parts[i] = parts[i][:-1]
    if kind == "part":
        parts[i] = draw(st.sampled_from(JUNK))
    if kind == "parts":
        del parts[i]
    state = draw(st.sampled_from([j for j in JUNK if j is not None])) if kind == "junk" else parts
    return (tuple(state) if state is parts else state), kind == "good"


STARTS: list[tuple[Any, Callable[[int], bool]]] = [
    (None, lambda n: True),
    (np.array([True]), lambda n: n == 1),
    (np.array([[True]]), lambda n: n == 1),
    ([True, False, True], lambda n: n == 3),
    (np.array([1, 0, 0]), lambda n: n == 3),
    (np.array([[1.0], [0.0], [1.0]]), lambda n: n == 3),
    (True, lambda n: n == 1),
    (np.zeros(8, bool), lambda n: n == 8),
    (np.array([0, 2, 1]), lambda n: False),
    (np.array([math.nan]), lambda n: False),
    ("no", lambda n: False),
    ([None], lambda n: False),
    ([[1], [0, 1]], lambda n: False),
]


@pytest.mark.parametrize(("agent_name", "name"), CASES)
def test_predict(agent_name: str, name: str) -> None:
    agent, space = make_agent(agent_name, name), OBSERVATIONS[name]
    good = space.sample()
    before, _ = agent.predict(good, deterministic=True)
    memory_of = agent.policy.memory.zeros

    @fuzz
    @given(st.data())
    def run(data: Any) -> None:
        lead = data.draw(st.sampled_from([(), (1,), (N,)]))
        obs = data.draw(observations(space, lead))
        leads = [lead_of(space, obs, axes) for axes in (0, 1)]
        found = [x for x in leads if x is not None]
        n = math.prod(found[0]) if found else N
        state, state_fits = None, True
        if data.draw(st.booleans()):
            state, state_fits = spoil_state(data.draw, memory_of(n))
        starts, starts_fit = data.draw(st.sampled_from(STARTS))
        wrong = [] if found else ["observation"]
        wrong += [] if state_fits else ["state"]
        wrong += [] if starts_fit(n) else ["episode_start"]
        if wrong:
            refused(lambda: agent.predict(obs, state, starts), *wrong)
            return
        action, memory = agent.predict(obs, state, starts)
        assert memory is not None
        assert all(np.isfinite(part).all() and len(part) == n for part in memory)
        rows = [action] if found[0] == () else list(action)
        assert len(rows) == n
        assert all(agent.action_space.contains(row) for row in rows)

    run()
    np.testing.assert_array_equal(agent.predict(good, deterministic=True)[0], before)


def to_tensors(value: Any) -> Any:
    """Make tensors of what can be one; the rest stays as it is."""
    if isinstance(value, dict):
        return {name: to_tensors(part) for name, part in value.items()}
    array = as_numbers(value)
    if array is None or array.dtype.kind == "u" or isinstance(value, th.Tensor):
        return value
    return th.as_tensor(np.array(array, array.dtype.newbyteorder("=")))


@pytest.mark.parametrize(("agent_name", "name"), CASES)
def test_step(agent_name: str, name: str) -> None:
    policy, space = make_agent(agent_name, name).policy, OBSERVATIONS[name]
    flags: list[Any] = [th.zeros(N, dtype=th.bool), th.ones(N, dtype=th.bool)]
    flags += [th.zeros(N), th.zeros(8, dtype=th.bool), th.zeros(N, 1, dtype=th.bool), None, "no"]

    @fuzz
    @given(st.data())
    def run(data: Any) -> None:
        obs = to_tensors(data.draw(observations(space, (N,))))
        i = data.draw(st.integers(0, len(flags) - 1))
        state = policy.initial_state(N)
        kind = data.draw(st.sampled_from(["good", "good", "nan", "dtype", "rows", "junk"]))
        action = state.prev_action
        if kind == "nan":
            action = action.fill_(math.nan)
        if kind == "dtype":
            action = action.double()
        if kind == "rows":
            action = action[:-1]
        state = state._replace(prev_action=action)
        given_state = data.draw(st.sampled_from(JUNK)) if kind == "junk" else state
        lead = lead_of(space, obs, 1)
        parts = obs.values() if isinstance(obs, dict) else [obs]
        in_torch = all(isinstance(part, th.Tensor) for part in parts)
        wrong = ["observation"] if lead is None or not in_torch else []
        wrong += ["is_first"] if i > 1 or (lead is not None and lead != (N,)) else []
        wrong += ["state"] if kind != "good" else []
        if wrong:
            refused(lambda: policy.step(obs, given_state, flags[i]), *wrong)
            return
        chosen, memory = policy.step(obs, state, flags[i])
        assert chosen.shape == (N, policy.action_codec.replay_dim)
        assert all(part.isfinite().all() for part in leaves(memory))

    run()


# ---------------------------------------------------------------- dreams


def is_row(space: spaces.Space, obs: Any) -> bool:
    if isinstance(space, spaces.Dict):
        return all(is_row(part, obs[name]) for name, part in space.spaces.items())
    return space.contains(np.asarray(obs)[()] if space.shape == () else np.asarray(obs))


@pytest.mark.parametrize("form", ["single", "vector", "sb3"])
@pytest.mark.parametrize(("agent_name", "name"), DREAMS)
def test_steps_of_dreams(agent_name: str, name: str, form: str) -> None:
    agent = make_agent(agent_name, name)
    space, actions = agent.observation_space, agent.action_space
    lead = () if form == "single" else (N,)
    single, vector = DreamEnv(agent, termination=None), DreamVectorEnv(agent, N, termination=None)
    rows = agent.dream_env(N, termination=None)

    @settings(fuzz, max_examples=10)
    @given(st.data())
    def run(data: Any) -> None:
        given_actions = data.draw(numbers(actions, lead))
        dream: Any = {"single": single, "vector": vector, "sb3": rows}[form]
        dream.reset()
        if not are_actions(actions, given_actions, lead):
            refused(lambda: dream.step(given_actions), "action")
            obs = dream.step(np.stack([actions.sample()] * N) if lead else actions.sample())[0]
        else:
            obs = dream.step(given_actions)[0]
        parts = obs if isinstance(obs, dict) else {"": obs}
        for i in range(N if lead else 1):
            row = {k: v[i] if lead else v for k, v in parts.items()}
            assert is_row(space, row if isinstance(space, spaces.Dict) else row[""])

    run()


MASKS: list[tuple[Any, bool]] = [
    (None, True),
    ([True, False, True], True),
    (np.zeros(N, bool), True),
    (th.ones(N, dtype=th.bool), True),
    (np.ones(N, int), False),
    ([True], False),
    (True, False),
    (["a", "b", "c"], False),
    ([None] * N, False),
    ([[1], [2, 3]], False),
]
SEEDS: list[tuple[Any, bool]] = [
    (None, True),
    (0, True),
    (2**40, True),
    (-1, False),
    (1.5, False),
    ("1", False),
]


def draw_context(data: Any, space: spaces.Space, actions: spaces.Space, n: int) -> tuple[Any, bool]:
    """Draw steps to begin after, and say whether they fit."""
    rows, steps = data.draw(st.sampled_from([1, n, 5])), data.draw(st.integers(1, 3))
    obs = data.draw(observations(space, (rows, steps)))
    moves = data.draw(numbers(actions, (rows, steps - data.draw(st.sampled_from([1, 1, 1, 0])))))
    lead = lead_of(space, obs, 2)
    fits = lead is not None and lead[0] in (1, n)
    fits = fits and are_actions(actions, moves, (lead[0], lead[1] - 1))  # type: ignore[index]
    context: Any = {"observations": obs, "actions": moves}
    change = data.draw(st.sampled_from(["nothing"] * 5 + ["missing", "junk"]))
    if change == "missing":
        del context["actions"]
    if change == "junk":
        context = data.draw(st.sampled_from([j for j in JUNK if j is not None]))
    return context, fits and change == "nothing"


@pytest.mark.parametrize("form", ["single", "vector", "sb3"])
@pytest.mark.parametrize(("agent_name", "name"), DREAMS)
def test_resets_of_dreams(agent_name: str, name: str, form: str) -> None:
    agent = make_agent(agent_name, name)
    space, actions = agent.observation_space, agent.action_space
    n = 1 if form == "single" else N
    off = AutoresetMode.DISABLED
    vector, rows = DreamVectorEnv(agent, N, autoreset_mode=off), agent.dream_env(N)
    single = DreamEnv(agent)

    @settings(fuzz, max_examples=10)
    @given(st.data())
    def run(data: Any) -> None:
        options: Any = {}
        wrong: list[str] = []
        if data.draw(st.booleans()):
            options["context"], fits = draw_context(data, space, actions, n)
            wrong += [] if fits else ["context"]
        if form == "vector" and data.draw(st.booleans()):
            options["reset_mask"], fits = data.draw(st.sampled_from(MASKS))
            wrong += [] if fits else ["reset_mask"]
        if data.draw(st.integers(0, 9)) == 0:
            options["other"] = 1
            wrong.append("other")
        seed, fits = data.draw(st.sampled_from(SEEDS))
        if form == "sb3":
            seed, fits = None, True
        wrong += [] if fits else ["seed"]
        dream: Any = {"single": single, "vector": vector, "sb3": rows}[form]
        dream.reset()

        def reset() -> Any:
            if form != "sb3":
                return dream.reset(seed=seed, options=options)[0]
            dream.set_options(options)
            return dream.reset()

        if wrong:
            refused(reset, *wrong)
            options, seed = {}, None
        obs = reset()
        parts = obs if isinstance(obs, dict) else {"": obs}
        for i in range(n):
            row = {k: v if form == "single" else v[i] for k, v in parts.items()}
            assert is_row(space, row if isinstance(space, spaces.Dict) else row[""])

    run()
