"""Training that was interrupted goes on, bit for bit, as if it had not been."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceReplayBuffer
from tests.resuming import Returns, assert_equal, everything

MakeAgent = Callable[..., DreamerV3]
FIRST, THEN = 90, 70
ROOT = Path(__file__).parents[2]


GO_ON = f"""
import sys
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from dreamzoo import DreamerV3

sys.path.insert(0, sys.argv[2])
from tests.resuming import Returns, everything

th.set_num_threads(1)
folder = sys.argv[1]
env = make_vec_env("CartPole-v1", n_envs=2, seed=5)
agent = DreamerV3.load(folder + "/model", env=env, device="cpu")
agent.load_replay_buffer(folder + "/replay", trusted=True)
returns = Returns()
agent.learn({THEN}, callback=returns, reset_num_timesteps=False)
result = {{"all": everything(agent), "returns": returns.returns}}
th.save(result, folder + "/out.pt")
"""


@pytest.mark.slow
def test_a_new_process_goes_on_exactly(make_agent: MakeAgent, tmp_path: Path) -> None:
    """Parameters, optimizer, replay and episode returns of N + M steps with and without a break."""
    whole = make_agent(make_vec_env("CartPole-v1", n_envs=2, seed=5))
    expected = Returns()
    whole.learn(FIRST + THEN, callback=expected)

    part = make_agent(make_vec_env("CartPole-v1", n_envs=2, seed=5))
    before = Returns()
    part.learn(FIRST, callback=before)
    part.save(tmp_path / "model")
    part.save_replay_buffer(tmp_path / "replay")
    arguments = [sys.executable, "-c", GO_ON, str(tmp_path), str(ROOT)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    result = th.load(tmp_path / "out.pt", weights_only=False)

    assert whole._n_updates > 20
    assert before.returns + result["returns"] == expected.returns
    assert len(result["returns"]) >= 2
    assert_equal(everything(whole), result["all"])


def _interrupted(agent: DreamerV3, env: VecEnv, folder: Path) -> DreamerV3:
    """Save, and load into a new environment; sources of random numbers are as in a new process."""
    agent.save(folder / "model")
    agent.save_replay_buffer(folder / "replay")
    again = DreamerV3.load(folder / "model", env=env, device="cpu")
    again.load_replay_buffer(folder / "replay", trusted=True)
    for seed in (random.seed, np.random.seed, th.manual_seed):
        seed(99)
    return again


def test_normalized_environments_go_on_exactly(make_agent: MakeAgent, tmp_path: Path) -> None:
    """VecNormalize's statistics and the unnormalized last observation belong to the state."""

    def make() -> VecEnv:
        return VecNormalize(make_vec_env("CartPole-v1", n_envs=2, seed=5))

    whole, part = make_agent(make()), make_agent(make())
    whole.learn(FIRST + 20)
    assert whole._n_updates > 10
    part.learn(FIRST)
    again = _interrupted(part, make(), tmp_path)
    again.learn(20, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(again))


def test_image_environments_go_on_exactly(
    make_agent: MakeAgent, space_env: Any, tmp_path: Path
) -> None:
    """SB3 wraps images of (H, W, C) in VecTransposeImage."""
    image = spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def make() -> VecEnv:
        return make_vec_env(lambda: space_env(image, spaces.Discrete(2), length=7), seed=5)

    settings: dict[str, Any] = {"policy": "CnnPolicy", "buffer_size": 300, "train_ratio": 4}
    whole, part = make_agent(make(), **settings), make_agent(make(), **settings)
    whole.learn(80)
    part.learn(60)
    again = _interrupted(part, make(), tmp_path)
    again.learn(20, reset_num_timesteps=False)
    assert_equal(everything(whole), everything(again))


def test_without_the_replay_new_episodes_begin(make_agent: MakeAgent, tmp_path: Path) -> None:
    agent = make_agent(make_vec_env("CartPole-v1", n_envs=2, seed=5))
    agent.learn(60)
    agent.save(tmp_path / "model")
    again = DreamerV3.load(tmp_path / "model", env=make_vec_env("CartPole-v1", n_envs=2))
    again.learn(100, reset_num_timesteps=False)
    assert again.num_timesteps == 160
    assert again.replay_buffer is not None
    assert again.replay_buffer.episode_starts[0].all()


def test_a_replay_of_another_moment_breaks_the_streams(
    make_agent: MakeAgent, counter_env: Any, tmp_path: Path
) -> None:
    """Joining it to the running episode would teach a jump."""
    agent = make_agent(counter_env, learning_starts=10**6)
    agent.learn(20)
    agent.save_replay_buffer(tmp_path / "replay")
    agent.learn(10, reset_num_timesteps=False)
    agent.load_replay_buffer(tmp_path / "replay")
    agent.learn(10, reset_num_timesteps=False)
    assert agent.replay_buffer is not None
    assert np.flatnonzero(agent.replay_buffer.episode_starts[:30, 0]).tolist() == [0, 20]


def _jumps(buffer: SequenceReplayBuffer) -> list[int]:
    """List the records of a counting environment that do not follow the one before."""
    used = buffer.size()
    assert isinstance(buffer.observations, np.ndarray)
    follows = np.diff(buffer.observations[:used, 0, 0]) == 1
    return (1 + np.flatnonzero(~follows & ~buffer.episode_starts[1:used, 0])).tolist()


class _StopAt(BaseCallback):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.num_timesteps != self.steps


@pytest.mark.parametrize("length", [0, 6])
def test_going_on_after_a_callback_stopped_joins_no_strangers(
    make_agent: MakeAgent, counter_env: Any, length: int
) -> None:
    """
    A callback stops between the environment's step and its storage: the observation that the
    agent remembers is then one behind, and may be of an episode that has ended.
    """
    agent = make_agent(lambda: counter_env(length), learning_starts=10**6)
    agent.learn(50, callback=_StopAt(18))
    agent.learn(20, reset_num_timesteps=False)
    assert agent.replay_buffer is not None
    assert _jumps(agent.replay_buffer) == []


def test_a_checkpoint_from_a_callback_joins_no_strangers(
    make_agent: MakeAgent, counter_env: Any, tmp_path: Path
) -> None:
    """CheckpointCallback saves in the middle of a step, too."""
    agent = make_agent(counter_env, learning_starts=10**6)
    checkpoints = CheckpointCallback(20, str(tmp_path), save_replay_buffer=True)
    agent.learn(30, callback=CallbackList([checkpoints]))
    again = DreamerV3.load(tmp_path / "rl_model_20_steps", env=agent.env)
    again.load_replay_buffer(tmp_path / "rl_model_replay_buffer_20_steps.pkl")
    again.learn(15, reset_num_timesteps=False)
    assert again.replay_buffer is not None
    assert _jumps(again.replay_buffer) == []
    assert again.replay_buffer.size() == 19 + 15


def test_a_replay_of_other_environments_is_refused(make_agent: MakeAgent, tmp_path: Path) -> None:
    one, three = make_agent(n_envs=1), make_agent(n_envs=3)
    one.learn(20)
    one.save_replay_buffer(tmp_path / "replay")
    three.load_replay_buffer(tmp_path / "replay")
    with pytest.raises(ValueError, match="holds 1 environments and the agent has 3"):
        three.learn(10)


def test_a_policy_alone_acts_as_the_agent(make_agent: MakeAgent, tmp_path: Path) -> None:
    agent = make_agent()
    agent.learn(40)
    agent.policy.save(str(tmp_path / "policy"))
    policy = type(agent.policy).load(str(tmp_path / "policy"))
    state: Any = None
    other: Any = None
    for obs in np.random.default_rng(0).random((5, 2, 3), np.float32):
        action, state = agent.predict(obs, state=state, deterministic=True)
        same, other = policy.predict(obs, state=other, deterministic=True)
        np.testing.assert_array_equal(action, same)
        np.testing.assert_array_equal(state[0], other[0])


def test_a_gymnasium_environment_can_be_passed_by_name(make_agent: MakeAgent) -> None:
    agent = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs={"size": "debug"}, device="cpu")
    assert isinstance(agent.get_env().envs[0], gym.Env)  # type: ignore[union-attr]


def test_a_replay_saved_on_another_device_loads(
    make_agent: MakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a GPU's generator does not fit a CPU's; everything else is restored."""
    agent = make_agent()
    agent.learn(20)
    state = agent._training_state()
    elsewhere = {"device": "cuda", "generator": th.zeros(16, dtype=th.uint8)}
    monkeypatch.setattr(agent, "_training_state", lambda: state | elsewhere)
    agent.save_replay_buffer(tmp_path / "replay")
    before = agent._generator.get_state()  # type: ignore[union-attr]
    agent.load_replay_buffer(tmp_path / "replay", trusted=True)
    assert th.equal(agent._generator.get_state(), before)  # type: ignore[union-attr]
    np.testing.assert_array_equal(agent._last_obs, state["last_obs"])
