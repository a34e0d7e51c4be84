"""Errors say what was given and what to do, and leave the agent as it was."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo import DreamerV3

MakeAgent = Callable[..., DreamerV3]
BOX = spaces.Box(-1, 1, (3,))
#: Gymnasium takes keys that are no strings, against its own annotation.
NUMBERED = spaces.Dict([(0, BOX)])  # type: ignore[list-item]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["observation", "reward", "terminal"])
def test_nan_from_the_environment_is_not_stored(
    make_agent: MakeAgent, space_env: Any, value: float, where: str
) -> None:
    class _Broken(space_env):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, reward, terminated, truncated, info = super().step(action)
            if self.age == 14 and where == "reward":
                reward = value
            if self.age == (21 if where == "terminal" else 14) and where != "reward":
                obs = np.full(3, value, np.float32)
            return obs, reward, terminated, truncated, info

    agent = make_agent(lambda: _Broken(BOX, spaces.Discrete(2), length=21), learning_starts=10**6)
    with pytest.raises(ValueError, match=rf"a.*{where}.*NaN or infinity at step .*Nothing"):
        agent.learn(60)
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.size() == (20 if where == "terminal" else 13)
    assert all(np.isfinite(a).all() for a in agent.replay_buffer._arrays.values())


def test_going_on_after_nan_joins_no_strangers(make_agent: MakeAgent, counter_env: Any) -> None:
    class _Broken(counter_env):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, reward, *rest = super().step(action)
            return obs, np.nan if self.shown == 14 else reward, *rest

    agent = make_agent(_Broken, learning_starts=10**6)
    with pytest.raises(ValueError, match="NaN"):
        agent.learn(60)
    agent.learn(20, reset_num_timesteps=False)
    buffer = agent.replay_buffer
    assert buffer is not None
    assert isinstance(buffer.observations, np.ndarray)
    follows = np.diff(buffer.observations[: buffer.size(), 0, 0]) == 1
    assert (follows | buffer.episode_starts[1 : buffer.size(), 0]).all()


def test_unknown_policy_names_are_answered_with_the_known(make_agent: MakeAgent) -> None:
    with pytest.raises(ValueError, match=r"'LstmPolicy' unknown.*MlpPolicy, CnnPolicy, Multi"):
        make_agent(policy="LstmPolicy")


def test_buffers_of_single_transitions_are_refused(make_agent: MakeAgent) -> None:
    with pytest.raises(ValueError, match=r"learns from sequences.*ReplayBuffer.*single"):
        make_agent(replay_buffer_class=ReplayBuffer)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "error", "message"),
    [
        (spaces.Tuple([BOX, BOX]), spaces.Discrete(2), ValueError, "Supported: Box, Discrete"),
        (spaces.MultiDiscrete(np.full((2, 2), 3)), spaces.Discrete(2), ValueError, "one dimension"),
        (NUMBERED, spaces.Discrete(2), ValueError, r"must be strings.*\[0\]"),
        (spaces.Dict(), spaces.Discrete(2), ValueError, "at least one"),
        (spaces.Box(0, 1, (0,)), spaces.Discrete(2), ValueError, "is empty"),
        (BOX, spaces.Box(-np.inf, np.inf, (2,)), AssertionError, "finite"),
        (BOX, spaces.Tuple([spaces.Discrete(2)]), AssertionError, "Tuple"),
    ],
)
def test_unsupported_spaces_are_named(
    make_agent: MakeAgent,
    space_env: Any,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    error: type[Exception],
    message: str,
) -> None:
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(error, match=message):
        make_agent(lambda: space_env(observation_space, action_space), policy=policy)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_length": 0},
        {"train_ratio": -1.0},
        {"horizon": 0},
        {"start_cont": "both"},
        {"learning_starts": -1},
        {"imagination_last": 0},
        {"gamma": 1.5},
        {"tau": -0.1},
        {"free_nats": -1.0},
        {"policy_kwargs": {"size": "3m"}},
        {"policy_kwargs": {"net_arch": {"policy": [8]}}},
        {"policy_kwargs": {"features_extractor_kwargs": {"depth": 3}}},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    make_agent: MakeAgent, wrong: dict[str, Any]
) -> None:
    with pytest.raises(
        ValueError,
        match=r"must be (at least|between|one of)|Unknown model size|expected|does not know",
    ):
        make_agent(**wrong)


def test_cnn_policy_asks_for_an_image(make_agent: MakeAgent) -> None:
    with pytest.raises(AssertionError, match=r"CnnPolicy reads images.*Use MlpPolicy"):
        make_agent(policy="CnnPolicy")


# ---------------------------------------------------------------- actions and predict


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=2),
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiDiscrete([3, 2], start=[4, -1]),
        spaces.MultiBinary(3),
        spaces.Box(-0.1, 0.3, (2,), np.float64),
        spaces.Box(np.array([-1, 0], np.float32), np.array([2, 7], np.float32)),
    ],
)
def test_actions_are_members_of_their_space(
    make_agent: MakeAgent, space_env: Any, space: spaces.Space
) -> None:
    """The environment checks every action that it gets while collecting."""
    agent = make_agent(lambda: space_env(BOX, space, length=7), n_envs=2)
    agent.learn(40)
    for deterministic in (False, True):
        one, _ = agent.predict(np.zeros(3, np.float32), deterministic=deterministic)
        assert space.contains(
            one if one.ndim or not isinstance(space, spaces.Discrete) else int(one)
        )
        many, _ = agent.predict(np.zeros((4, 3), np.float32), deterministic=deterministic)
        assert all(space.contains(row) for row in many)


def test_box_actions_are_stored_in_units_of_their_bounds(
    make_agent: MakeAgent, space_env: Any
) -> None:
    """The replay keeps the unclipped sample; the environment gets it clipped and scaled."""
    taken: list[np.ndarray] = []

    class _Noting(space_env):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            taken.append(np.array(action))
            return super().step(action)

    space = spaces.Box(np.array([-1, 0], np.float32), np.array([2, 7], np.float32))
    agent = make_agent(lambda: _Noting(BOX, space), learning_starts=10**6)
    agent.learn(200)
    assert agent.replay_buffer is not None
    stored = agent.replay_buffer.actions[:200, 0]
    assert np.abs(stored).max() > 1.0
    expected = space.low + (np.clip(stored, -1, 1) + 1) / 2 * (space.high - space.low)
    np.testing.assert_allclose(np.array(taken), expected, atol=1e-5)


@pytest.mark.parametrize("spoil", ["rows", "parts", "width"])
def test_wrong_states_are_refused(make_agent: MakeAgent, spoil: str) -> None:
    agent = make_agent()
    obs = np.zeros((2, 3), np.float32)
    _, state = agent.predict(obs)
    assert state is not None
    wrong = {
        "rows": tuple(part[:1] for part in state),
        "parts": state[:2],
        "width": tuple(part[:, :-1] for part in state),
    }
    with pytest.raises(ValueError, match="as the last predict"):
        agent.predict(obs, state=wrong[spoil])


def test_gym_style_tuples_are_explained(make_agent: MakeAgent) -> None:
    with pytest.raises(ValueError, match="probably mixing"):
        make_agent().predict((np.zeros(3, np.float32), {}))  # type: ignore[arg-type]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_checkpoints_are_refused(
    make_agent: MakeAgent, tmp_path: Path, share: float
) -> None:
    path = tmp_path / "model.zip"
    make_agent().save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"model\.zip is (damaged|not of a form)"):
        DreamerV3.load(path)


def test_foreign_zip_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no model")
    with pytest.raises(ValueError, match=r"model\.zip is not of a form that is safe to read"):
        DreamerV3.load(path)
    with pytest.raises(ValueError, match=r"model\.zip cannot be read, No data found"):
        DreamerV3.load(path, trusted=True)


def test_checkpoints_of_another_algorithm_are_refused(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu").save(tmp_path / "ppo")
    with pytest.raises(ValueError, match="another algorithm"):
        DreamerV3.load(tmp_path / "ppo", device="cpu", trusted=True)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.7, 0.999])
def test_truncated_replays_are_refused_and_the_old_one_is_kept(
    make_agent: MakeAgent, tmp_path: Path, share: float
) -> None:
    agent = make_agent(learning_starts=10**6)
    agent.learn(40)
    path = tmp_path / "replay.pkl"
    agent.save_replay_buffer(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    buffer = agent.replay_buffer
    with pytest.raises(ValueError, match=r"replay\.pkl is (damaged|not of a form)"):
        agent.load_replay_buffer(path)
    assert agent.replay_buffer is buffer
    agent.learn(10, reset_num_timesteps=False)


@pytest.mark.parametrize("foreign", ["sb3", "dict", "text"])
def test_foreign_replays_are_refused_and_the_old_one_is_kept(
    make_agent: MakeAgent, tmp_path: Path, foreign: str
) -> None:
    agent = make_agent()
    buffer = agent.replay_buffer
    path = tmp_path / "replay.pkl"
    if foreign == "text":
        path.write_text("nothing to see here")
    else:
        plain = ReplayBuffer(10, BOX, spaces.Discrete(2), "cpu")
        agent.replay_buffer = plain if foreign == "sb3" else {"a": 1}  # type: ignore[assignment]
        OffPolicyAlgorithm.save_replay_buffer(agent, path)
        agent.replay_buffer = buffer
    for trusted in (False, True):
        with pytest.raises(ValueError, match=r"replay\.pkl"):
            agent.load_replay_buffer(path, trusted=trusted)
        assert agent.replay_buffer is buffer


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("array", ["observations", "rewards"])
def test_losses_that_are_not_finite_are_named_and_the_model_saved(
    make_agent: MakeAgent, tmp_path: Path, array: str
) -> None:
    """All of the saved model must be good: parameters, moments and the return normalizer."""
    agent = make_agent(tensorboard_log=None)
    agent.learn(60)
    good = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    assert agent.replay_buffer is not None
    agent.replay_buffer._arrays[array][:] = np.nan
    agent.logger.dir = str(tmp_path)
    name = {"observations": "recon", "rewards": "reward"}[array]
    with pytest.raises(FloatingPointError, match=rf"at step 60.*{name} = nan") as caught:
        agent.train(1, 4)
    path = tmp_path / "last_good_60_steps.zip"
    assert str(path) in str(caught.value)
    saved = DreamerV3.load(path, device="cpu").policy.state_dict()
    assert all(th.equal(v, good[k]) for k, v in saved.items())


def test_learning_goes_on_from_the_last_good_model(make_agent: MakeAgent, tmp_path: Path) -> None:
    agent = make_agent()
    agent.learn(60)
    assert agent.replay_buffer is not None
    agent.replay_buffer.observations[:] = np.inf
    agent.logger.dir = str(tmp_path)
    with pytest.raises(FloatingPointError):
        agent.train(1, 4)
    env = agent.get_env()
    assert isinstance(env, DummyVecEnv)
    saved = DreamerV3.load(tmp_path / "last_good_60_steps.zip", env=env)
    saved.learn(60, reset_num_timesteps=False)
    assert all(th.isfinite(v).all() for v in saved.policy.state_dict().values())


def test_nan_in_the_first_observation_is_refused() -> None:
    env = gym.make("Pendulum-v1")
    reset = env.reset
    env.reset = lambda **kwargs: (np.full(3, np.nan, np.float32), {})  # type: ignore[method-assign]
    agent = DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug"), seed=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="observation with NaN or infinity"):
            agent.learn(5, reset_num_timesteps=False)
    assert agent.replay_buffer is not None
    assert agent.replay_buffer.size() == 0
    env.reset = reset  # type: ignore[method-assign]
    assert agent.learn(5).num_timesteps == 5


def test_a_replay_of_other_settings_or_environments_is_refused(tmp_path: Path) -> None:
    agent = DreamerV3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(size="debug"), seed=0)
    agent.learn(5)
    agent.save(tmp_path / "model")
    agent.save_replay_buffer(tmp_path / "replay")
    others = {
        r"latents of .*'deter'.*, and this agent has \{\}": DreamerV3.load(
            tmp_path / "model", replay_context=False
        ),
        r"latents of .*\(512,\)": DreamerV3(
            "MlpPolicy", "Pendulum-v1", policy_kwargs={"size": "1m"}
        ),
        r"observations of Box.*\(4,\)": DreamerV3("MlpPolicy", "CartPole-v1"),
    }
    for message, other in others.items():
        before = other.replay_buffer
        with pytest.raises(ValueError, match=message):
            other.load_replay_buffer(tmp_path / "replay")
        assert other.replay_buffer is before
