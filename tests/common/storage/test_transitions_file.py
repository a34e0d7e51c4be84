"""Replays of SB3's kinds: written without code, checked, of the moment of their agent."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.save_util import save_to_pkl

from dreamzoo import DiscreteSAC
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.common.storage.inspection import describe
from tests.rewriting import members, payloads, rewrite, rewrite_json


class ResumableSAC(ExactResume, SAC):
    """A user's own agent."""


class InDict(gym.ObservationWrapper):
    """Puts observations under a name that a file would not allow."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Dict({"a/b": env.observation_space})

    def observation(self, observation: Any) -> Any:
        return {"a/b": observation}


def _agent(env: Any = "Pendulum-v1", seed: int = 0, **kwargs: Any) -> Any:
    policy = "MultiInputPolicy" if not isinstance(env, str) else "MlpPolicy"
    small: Any = dict(buffer_size=40, learning_starts=1_000, seed=seed) | kwargs
    return ResumableSAC(policy, env, policy_kwargs=dict(net_arch=[4]), device="cpu", **small)


SAVING: dict[str, Any] = dict(
    optimize_memory_usage=True, replay_buffer_kwargs=dict(handle_timeout_termination=False)
)


@pytest.mark.parametrize("steps", [0, 25, 40, 50])
@pytest.mark.parametrize(
    ("kwargs", "kind"),
    [
        ({}, ReplayBuffer),
        (SAVING, ReplayBuffer),
        (dict(env=InDict(gym.make("Pendulum-v1"))), DictReplayBuffer),
        (dict(n_steps=3), NStepReplayBuffer),
    ],
)
def test_all_kinds_come_back_without_trust(
    kwargs: dict[str, Any], kind: type, steps: int, tmp_path: Path
) -> None:
    agent, stream = _agent(**kwargs), io.BytesIO()
    if steps:
        agent.learn(steps)
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    agent.save_replay_buffer(stream)
    again: Any = ResumableSAC.load(tmp_path / "agent", env=agent.get_env(), device="cpu")
    for source in (tmp_path / "replay", stream):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again.load_replay_buffer(source)
        assert type(again.replay_buffer) is kind
        _compare(agent.replay_buffer, again.replay_buffer)
    again.device = th.device("meta")
    again.load_replay_buffer(tmp_path / "replay")
    assert again.replay_buffer.device == again.device
    assert f"{steps} of up to 40" in describe(tmp_path / "replay") or steps == 50


def _compare(one: Any, other: Any) -> None:
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray | dict):
            np.testing.assert_equal(vars(other)[name], value)
        else:
            assert vars(other)[name] == value, name


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda said: said.__setitem__(name, value)


def test_damaged_and_forged_files_are_refused_and_leave_the_replay(tmp_path: Path) -> None:
    agent = _agent().learn(30)
    whole, bad, mark = tmp_path / "replay.npz", tmp_path / "bad.npz", tmp_path / "ran"
    agent.save_replay_buffer(whole)
    before, good = agent.replay_buffer, whole.read_bytes()

    def refused() -> None:
        with pytest.raises(ValueError, match=r"bad\.npz"):
            agent.load_replay_buffer(bad)
        assert agent.replay_buffer is before

    at = good.index(before.observations[:30].tobytes())
    bad.write_bytes(good[: at + 9] + bytes([good[at + 9] ^ 4]) + good[at + 10 :])
    refused()
    for name, value in [
        *(("pos", 41), ("pos", -1), ("pos", 31), ("full", 1), ("capacity", 10**15), ("n_envs", 2)),
        *(("class", "HerReplayBuffer"), ("given", {"device": "cuda"}), ("observation_space", 3)),
    ]:
        rewrite_json(whole, bad, "transitions.json", _set(name, value))
        refused()
    rewrite(whole, bad, {"more.npy": b""})
    refused()
    for member in members(whole):
        for payload in payloads(mark):
            if member != "dreamzoo.json":
                rewrite(whole, bad, {member: payload})
                refused()
    assert not mark.exists()


def test_a_replay_of_another_run_is_noticed(tmp_path: Path) -> None:
    for seed in (0, 1):
        agent = DiscreteSAC("MlpPolicy", "CartPole-v1", seed=seed, **DiscreteSAC.smallest)
        agent.learn(20)
        agent.save(tmp_path / f"agent{seed}")
        agent.save_replay_buffer(tmp_path / f"replay{seed}")
        agent.save_training_state(tmp_path / f"state{seed}")
    again = DiscreteSAC.load(tmp_path / "agent0", env=gym.make("CartPole-v1"))
    with pytest.warns(UserWarning, match=r"replay1 was not saved together with the agent: new epi"):
        again.load_replay_buffer(tmp_path / "replay1")
    assert again._last_obs is None
    with pytest.raises(ValueError, match="of another training of 20 steps"):
        again.load_training_state(tmp_path / "state0")


def test_replays_of_other_classes_are_pickles_that_need_trust(tmp_path: Path) -> None:
    env = BitFlippingEnv(n_bits=3, continuous=True)
    agent = _agent(env, replay_buffer_class=HerReplayBuffer, learning_starts=30).learn(20)
    agent.save_replay_buffer(tmp_path / "replay")
    assert (tmp_path / "replay.pkl").exists()
    with pytest.raises(ValueError, match=r"replay is a replay of SB3, .* with trusted=True"):
        agent.load_replay_buffer(tmp_path / "replay")
    agent.load_replay_buffer(tmp_path / "replay", trusted=True)
    assert isinstance(agent.replay_buffer, HerReplayBuffer)
    plain = _agent().learn(20)
    save_to_pkl(tmp_path / "earlier.pkl", plain.replay_buffer)  # as dreamzoo 0.1 has saved it
    plain.load_replay_buffer(tmp_path / "earlier", trusted=True)
    assert plain.replay_buffer.pos == 20
