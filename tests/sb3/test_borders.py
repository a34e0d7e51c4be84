"""What does not belong to an agent's spaces is refused where it enters, and nothing is lost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dreamzoo.nn.state import map_parts
from dreamzoo.planning import CEMPlanner
from dreamzoo.testing.random_env import VECTOR, RandomEnv
from tests.facts import HAS_MODEL, KINDS_OF_LOOP, KINDS_OF_REPLAY, ON_POLICY
from tests.resuming import has_replay
from tests.sb3.stored import last_window

BIG = 1e39  # a float64 that float32 turns into infinity
FREE = spaces.Box(-np.inf, np.inf, (2,), np.float64)
HALF = spaces.Box(-1e4, 1e4, (2,), np.float16)
MULTI = spaces.MultiDiscrete([4, 3])
DICT = spaces.Dict({"place": MULTI, "speed": FREE})
OBS = np.array([[0.5, -0.5, 1.0], [-1.0, 0.2, 0.0]], np.float32)


@pytest.fixture(params=KINDS_OF_LOOP)
def agent_name(request: pytest.FixtureRequest) -> str:
    """Not every agent: what lies before replays and windows is the same for all."""
    return request.param


class Plain(DummyVecEnv):
    """Hands observations and rewards out as they are; SB3's would round them first."""

    def step_wait(self) -> Any:
        env: Any = self.envs[0].unwrapped
        obs, reward, done, _, info = env.step(self.actions[0])
        if done:
            info, obs = {"terminal_observation": obs}, env.reset()[0]
        batch = {k: v[None] for k, v in obs.items()} if isinstance(obs, dict) else obs[None]
        return batch, np.array([reward]), np.array([done]), [info]


class Failing(RandomEnv):
    """
    Shows something else at one step, once.

    :param space: what it shows otherwise
    :param wrong: what it shows then
    :param reward: what it rewards with then
    :param at: the step
    """

    def __init__(
        self, space: spaces.Space, wrong: Any = None, reward: float | None = None, at: int = 4
    ) -> None:
        super().__init__(space)
        self.wrong, self.reward, self.at, self.count = wrong, reward, at, 0

    def step(self, action: Any) -> Any:
        obs, reward, *rest = super().step(action)
        self.count += 1
        if self.count == self.at:
            obs = obs if self.wrong is None else self.wrong
            reward = reward if self.reward is None else self.reward
        return obs, reward, *rest


def policy_for(space: spaces.Space) -> str:
    return "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"


def stored(agent: Any) -> list[np.ndarray]:
    kept = agent.replay_buffer if has_replay(agent) else last_window(agent)
    given = kept.observations
    parts = list(given.values()) if isinstance(given, dict) else [given]
    steps = agent.replay_buffer.size() if has_replay(agent) else None
    return [np.asarray(part[:steps]) for part in parts]


#: Space, what it excludes, which part and value of it, and its place in a batch of one.
WRONG: list[tuple[spaces.Space, Any, str, str]] = [
    (FREE, np.array([0.0, BIG]), " outside its space", r"1e\+39 at \(0, 1\)"),
    (FREE, np.array([0.0, np.nan]), " with NaN or infinity", r"nan at \(0, 1\)"),
    (HALF, np.array([7e4, 0.0]), "", r"70000\.0 at \(0, 0\); expected .* of float16"),
    (MULTI, np.array([4, 0]), "", r"4 at \(0, 0\); expected members of MultiDiscrete\(\[4 3\]\)"),
    (MULTI, np.array([0, -1]), "", r"-1 at \(0, 1\)"),
    (spaces.MultiBinary(2), np.array([0, 2]), "", r"2 at \(0, 1\); expected members of MultiBin"),
    (spaces.Box(0, 9, (2,), np.uint8), np.array([0, 300]), "", r"300 at \(0, 1\)"),
    (spaces.Discrete(3, start=1), np.int64(0), "", r"0 at \(0,\); expected members of Discrete"),
    (DICT, {"place": np.array([0, 3]), "speed": np.zeros(2)}, " 'place'", r"3 at \(0, 1\)"),
    (DICT, {"place": np.zeros(2), "speed": np.array([BIG, 0])}, " 'speed'", r"1e\+39 at \(0, 0\)"),
]


@pytest.mark.parametrize(("space", "wrong", "part", "value"), WRONG)
@pytest.mark.parametrize("ends", [False, True])
def test_what_cannot_be_stored_never_reaches_the_replay(
    make_agent: Any, space: spaces.Space, wrong: Any, part: str, value: str, ends: bool
) -> None:
    agent = make_agent(
        Plain([lambda: Failing(space, wrong, at=10 if ends else 4)]), policy_for(space)
    )
    what = f"an observation{part}"
    if ends:  # an episode's last observation comes in the infos, without a batch axis
        what = f"a terminal observation of env 0{part}"
        value = value.split(" at ")[0]
    with pytest.raises(ValueError, match=rf"returned {what}.* at step \d+: {value}.*Nothing"):
        agent.learn(30)
    agent.set_env(DummyVecEnv([lambda: RandomEnv(space)]))
    before = agent._n_updates
    agent.learn(30, reset_num_timesteps=False)
    assert agent._n_updates > before
    assert all(np.isfinite(x).all() for x in stored(agent))
    assert all(th.isfinite(p).all() for p in agent.policy.parameters())


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (BIG, r"a reward outside its space at step 4: 1e\+39 at \(0,\); expected finite numbers"),
        (np.nan, r"a reward with NaN or infinity at step 4: nan"),
        (1j, r"a reward of numbers that are not real at step 4"),
        (np.ones(2), r"an unexpected reward shape \(1, 2\) at step 4: expected 1 finite numbers"),
    ],
)
def test_rewards_are_tested_as_they_will_be_stored(
    make_agent: Any, reward: Any, message: str
) -> None:
    agent = make_agent(Plain([lambda: Failing(VECTOR, reward=reward)]))
    with pytest.raises(ValueError, match=message):
        agent.learn(20)
    agent.learn(20, reset_num_timesteps=False)
    kept = agent.replay_buffer if has_replay(agent) else last_window(agent)
    assert np.isfinite(np.asarray(kept.rewards)).all()
    assert all(th.isfinite(p).all() for p in agent.policy.parameters())


def test_what_lies_below_a_normalizer_is_tested_too(make_agent: Any) -> None:
    """A replay stores that, and normalizing may hide it: statistics of infinity give zeros."""
    normalizer = VecNormalize(Plain([lambda: Failing(FREE, np.array([BIG, 0.0]))]))
    agent = make_agent(normalizer)
    with pytest.raises(ValueError, match=r"1e\+39 at \(0, 0\)"):
        agent.learn(20)
    assert all(np.isfinite(x).all() for x in stored(agent))


@pytest.mark.parametrize("agent_name", KINDS_OF_REPLAY)
def test_integers_that_are_normalized_are_stored_as_they_were(make_agent: Any) -> None:
    space = spaces.Box(-(2**20), 2**20, (2,), np.int32)
    agent = make_agent(VecNormalize(DummyVecEnv([lambda: RandomEnv(space)]))).learn(25)
    assert agent._n_updates > 0
    assert agent.replay_buffer.observations.dtype == np.int32


# ---------------------------------------------------------------- predict

Spoil = Callable[[Any, Any], Any]
STATES: dict[str, tuple[Spoil, str]] = {
    "rows": (lambda state, _: tuple(part[:1] for part in state), "same number of environments"),
    "parts": (lambda state, _: state[:2], "as the last predict"),
    "width": (lambda state, _: tuple(part[:, :-1] for part in state), "as the last predict"),
    "dtype": (
        lambda state, _: tuple(part.astype(np.float64) for part in state),
        "float64.*expected float32",
    ),
    "nan": (lambda state, i: _put(state, i, np.nan), r"art \d of the state with NaN or infinity"),
    "infinity": (lambda state, i: _put(state, i, np.inf), r"expected finite numbers of float32"),
    "none": (lambda state, _: (None, *state[1:]), "not real: NoneType"),
    "text": (lambda *_: "state", r"no tuple: str; expected a tuple of \d+ arrays of \d+ rows"),
    "number": (lambda *_: 3, "no tuple: int"),
}


def _put(state: tuple[np.ndarray, ...], part: int, value: float) -> tuple[np.ndarray, ...]:
    copied = tuple(x.copy() for x in state)
    copied[part][-1, -1] = value
    return copied


@pytest.mark.parametrize("name", STATES)
def test_states_that_do_not_fit_are_refused(make_agent: Any, name: str) -> None:
    agent = make_agent()
    _, state = agent.predict(OBS)
    spoil, message = STATES[name]
    spoiled = [part for part, size in enumerate(agent.policy.memory.sizes) if size]
    for part in spoiled[: 3 if name in ("nan", "infinity") else 1]:
        with pytest.raises(ValueError, match=message):
            agent.predict(OBS, spoil(state, part))
    agent.predict(OBS, state)


@pytest.mark.parametrize("given", ["agent", "planner"])
@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize(
    "starts",
    [np.zeros(8, bool), np.zeros(1, bool), np.zeros((2, 2), bool), [0, 2], "no", [None] * 2],
)
def test_flags_that_do_not_fit_are_refused(
    make_agent: Any, given: str, with_state: bool, starts: Any
) -> None:
    """With numba eight flags for one observation wrote where they should not have."""
    agent = make_agent()
    if given == "planner" and not hasattr(agent, "dream_env"):
        pytest.skip("has no model to plan in")
    actor = agent if given == "agent" else CEMPlanner(agent)
    _, state = agent.predict(OBS)
    with pytest.raises(ValueError, match=r"(?i)episode_start.*expected 2 flags"):
        actor.predict(OBS, state if with_state else None, episode_start=starts)


def test_flags_may_be_numbers(make_agent: Any, shake: Any) -> None:
    agent = shake(make_agent())
    _, state = agent.predict(OBS, deterministic=True)
    one, _ = agent.predict(OBS, state, np.array([True, False]), deterministic=True)
    for starts in ([1, 0], np.array([[1.0], [0.0]])):
        other, _ = agent.predict(OBS, state, starts, deterministic=True)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("given", ["agent", "policy", "planner"])
@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (np.array([0, np.nan, 0]), r"Observation with NaN or infinity: nan at \(1,\)"),
        (np.array([[0, 0, BIG]]), r"Observation outside its space: 1e\+39 at \(0, 2\)"),
        (np.zeros((2, 4)), r"Unexpected observation shape \(2, 4\): expected \(3,\) or \(n, 3\)"),
        (np.zeros((0, 3)), r"Unexpected observation shape \(0, 3\)"),
        (None, "not real: NoneType"),
        (["a", "b", "c"], "not real: list of the dtype <U1"),
        (np.zeros(3, complex), "not real: ndarray of the dtype complex128"),
        (np.array([0, None, 0]), "not real: ndarray of the dtype object"),
        ({"observation": np.zeros(3)}, r"a dict: keys \['observation'\]; expected Box"),
    ],
)
def test_observations_that_do_not_fit_are_refused(
    make_agent: Any, given: str, obs: Any, message: str
) -> None:
    agent = make_agent()
    if given == "planner" and not hasattr(agent, "dream_env"):
        pytest.skip("has no model to plan in")
    actor = {"agent": agent, "policy": agent.policy}.get(given) or CEMPlanner(agent)
    with pytest.raises(ValueError, match=message):
        actor.predict(obs)


def test_keys_of_a_dict_are_named(make_agent: Any) -> None:
    agent = make_agent(RandomEnv(DICT), "MultiInputPolicy")
    good = {"place": np.zeros((2, 2), int), "speed": np.zeros((2, 2))}
    agent.predict(good)
    for wrong, message in (
        ({"place": good["place"]}, r"missing or unknown keys: \['place'\]; expected"),
        (good | {"x": 1}, r"unknown keys: .*'x'"),
        (good | {"place": np.zeros(2, int)}, "of different lengths"),
        (good | {"place": np.full((2, 2), 3)}, r"'place' outside its space: 3 at \(0, 1\)"),
        (np.zeros(4), "no dict: ndarray"),
    ):
        with pytest.raises(ValueError, match=message):
            agent.predict(wrong)


def test_vectors_outside_their_box_are_let_in(make_agent: Any) -> None:
    """Bounds of real environments are often too narrow; SB3 lets these in as well."""
    make_agent().predict(np.array([5.0, -7.0, 100.0], np.float32))


@pytest.mark.parametrize("images", [True, False])
def test_forms_of_one_observation_are_read_alike(make_agent: Any, shake: Any, images: bool) -> None:
    space = spaces.Box(0, 255, (3, 36, 36), np.uint8) if images else VECTOR
    agent = shake(make_agent(RandomEnv(space), "CnnPolicy" if images else "MlpPolicy"))
    one = np.stack([space.sample() for _ in range(2)])
    expected, _ = agent.predict(one, deterministic=True)
    forms = [one.tolist(), th.as_tensor(one), one.astype(np.float64), one[::-1].copy()[::-1]]
    for form in forms:
        np.testing.assert_array_equal(agent.predict(form, deterministic=True)[0], expected)


# ---------------------------------------------------------------- the torch form


def _state(agent: Any, n: int) -> Any:
    return agent.policy.initial_state(n)


STEPS: dict[str, tuple[Callable[[Any], tuple[Any, ...]], str]] = {
    "rows": (
        lambda a: (th.zeros(1, 3), _state(a, 1), th.zeros(8, dtype=th.bool)),
        r"is_first shape \(8,\): expected \(1,\)",
    ),
    "flags": (lambda a: (th.zeros(2, 3), _state(a, 2), th.ones(2)), "expected torch.bool"),
    "state": (
        lambda a: (th.zeros(2, 3), _state(a, 1), th.ones(2, dtype=th.bool)),
        "State that does not fit",
    ),
    "dtype": (
        lambda a: (
            th.zeros(1, 3),
            map_parts(lambda x: x.double() if x.is_floating_point() else x, _state(a, 1)),
            th.ones(1, dtype=th.bool),
        ),
        "State that does not fit: part 0 of .*float64.*expected.*float32",
    ),
    "nan": (
        lambda a: (
            th.zeros(1, 3),
            _state(a, 1)._replace(prev_action=th.full((1, 2), th.nan)),
            th.ones(1, dtype=th.bool),
        ),
        r"part \d+ of the state with NaN",
    ),
    "obs": (
        lambda a: (th.full((1, 3), th.nan), _state(a, 1), th.ones(1, dtype=th.bool)),
        "Observation with NaN",
    ),
    "width": (
        lambda a: (th.zeros(1, 4), _state(a, 1), th.ones(1, dtype=th.bool)),
        r"shape \(1, 4\): expected \(n, 3\)",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_in_torch_are_checked_alike(make_agent: Any, name: str) -> None:
    agent = make_agent()
    arguments, message = STEPS[name]
    with pytest.raises(ValueError, match=f"(?i){message}"):
        agent.policy.step(*arguments(agent))
    fitting = th.zeros(1, 3), agent.policy.initial_state(1), th.ones(1, dtype=th.bool)
    assert agent.policy.step(*fitting)[0].shape == (1, 2)


# ---------------------------------------------------------------- float images


@pytest.mark.parametrize("agent_name", [*KINDS_OF_REPLAY, *(HAS_MODEL.keys() & ON_POLICY)])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (100.0, 101.0)])
def test_float_images_are_learned_alike_whatever_their_bounds(
    make_agent: Any, low: float, high: float
) -> None:
    """A decoder gives [0, 1]: of images between -1 and 1 half could never be reproduced."""

    class Flashing(RandomEnv):
        def step(self, action: Any) -> Any:
            _, *rest = super().step(action)
            bright = 0.75 if len(self.actions) % 2 else 0.25
            return np.full((3, 36, 36), low + bright * (high - low), np.float32), *rest

        def reset(self, **kwargs: Any) -> Any:
            super().reset(**kwargs)
            return np.full((3, 36, 36), low + 0.25 * (high - low), np.float32), {}

    space = spaces.Box(low, high, (3, 36, 36), np.float32)
    kwargs = {"normalize_images": False}
    agent = make_agent(Flashing(space), "CnnPolicy", policy_kwargs=kwargs).learn(20)
    kept = agent.replay_buffer.sample(2) if has_replay(agent) else last_window(agent)
    targets = agent.policy.world_model.inputs(kept.observations, 2)["observation"]
    assert 0.2 < float(targets.max() - targets.min()) < 0.6
    assert float(targets.min()) > -0.5  # PlaNet's images lie around zero
    dream = agent.dream_env(2)
    frames = dream.reset()
    assert low <= frames.min() <= frames.max() <= high
    shown = dream.get_images()[0]
    assert shown is not None
    expected = 255 * (frames[0].transpose(1, 2, 0).astype(float) - low) / (high - low)
    assert np.abs(shown - expected).max() < 1
    with pytest.raises(ValueError, match="expected images between the bounds of Box"):
        agent.predict(np.full((3, 36, 36), high + 0.1 * (high - low)))
