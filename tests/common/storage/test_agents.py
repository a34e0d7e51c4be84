"""``dreamzoo.load``: whatever agent a file holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

import dreamzoo
from dreamzoo import AGENTS, DreamerV3, PlaNet
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.common.storage.agents import SB3_AGENTS
from dreamzoo.envs import DreamVectorEnv
from dreamzoo.testing.random_env import RandomEnv


class OwnDQN(ExactResume, DQN):
    """A model-free agent of a user's own, which names its class in its file."""


def _saved(agent: BaseAlgorithm, tmp_path: Path) -> Path:
    agent.save(tmp_path / "agent")
    return tmp_path / "agent"


@pytest.fixture
def model_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one of the agents have no world model."""
    monkeypatch.setitem(AGENTS, "dqn", DQN)


def test_agents_are_loaded_as_what_they_are(tmp_path: Path) -> None:
    widths: Any = dict(deter=8, stoch=3, units=8, reward_arch=[8])
    for agent in (
        DreamerV3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(size="debug"), buffer_size=10),
        PlaNet("MlpPolicy", "Pendulum-v1", policy_kwargs=widths, buffer_size=10),
    ):
        path = _saved(agent, tmp_path)
        loaded: Any = dreamzoo.load(path, env=agent.env, device="cpu", batch_size=3)
        assert type(loaded) is type(agent)
        assert (loaded.batch_size, loaded.env) == (3, agent.env)
        data = BaseAlgorithm.save
        data(agent, tmp_path / "old")  # as files of dreamzoo 0.1, with and without a name
        assert type(dreamzoo.load(str(tmp_path / "old"), trusted=True)) is type(agent)
        vars(agent)["_agent_class"] = "dreamzoo.planet.planet:PlaNet"
        data(agent, tmp_path / "named")
        if type(agent) is PlaNet:
            assert type(dreamzoo.load(tmp_path / "named", trusted=True)) is PlaNet
        del vars(agent)["_agent_class"]


@pytest.mark.usefixtures("model_free")
def test_agents_without_a_world_model_are_loaded_and_do_not_dream(tmp_path: Path) -> None:
    for kind in (DQN, OwnDQN):
        agent = kind("MlpPolicy", "CartPole-v1", buffer_size=10)
        path = _saved(agent, tmp_path)
        assert type(dreamzoo.load(path, trusted=kind is DQN)) is kind
        for model in (agent, lambda agent=agent: agent, *([path] if kind is OwnDQN else [])):
            with pytest.raises(ValueError, match=rf"^{kind.__name__} has no world model"):
                DreamVectorEnv(model)  # type: ignore[arg-type]


VECTOR, BOX = spaces.Box(-2, 2, (3,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
SMALL: dict[str, dict[str, Any]] = {"a2c": dict(n_steps=8), "ppo": dict(n_steps=8, batch_size=8)}


@pytest.mark.parametrize("name", SB3_AGENTS)
@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy"])
def test_agents_of_sb3_are_told_apart(name: str, policy: str, tmp_path: Path) -> None:
    kind, action = SB3_AGENTS[name], spaces.Discrete(3) if name == "dqn" else BOX
    seen = VECTOR if policy == "MlpPolicy" else spaces.Dict({"a": VECTOR})
    settings = SMALL.get(name, {"buffer_size": 10})
    agent = kind(policy, RandomEnv(seen, action), device="cpu", **settings)
    path = _saved(agent, tmp_path)
    with pytest.raises(ValueError, match=r"agent\.zip is not of a form .* with trusted=True"):
        dreamzoo.load(path, device="cpu")
    loaded = dreamzoo.load(path, device="cpu", trusted=True)
    assert type(loaded) is (TD3 if kind is DDPG else kind)  # whose files do not differ
    for one, other in zip(agent.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(one, other)


class OthersPolicy(ActorCriticPolicy):
    """As those of sb3-contrib, which PPO cannot handle."""


def test_agents_of_others_are_named_and_refused(tmp_path: Path) -> None:
    path = _saved(PPO(OthersPolicy, "CartPole-v1", n_steps=8, batch_size=8), tmp_path)
    with pytest.raises(ValueError, match=r"OthersPolicy.*, which no agent of dreamzoo or SB3 has"):
        dreamzoo.load(path, trusted=True)


@pytest.mark.usefixtures("model_free")
def test_a_policy_of_two_agents_does_not_tell_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AGENTS, "sac", SAC)
    monkeypatch.setitem(AGENTS, "own_sac", type("OwnSAC", (SAC,), {}))
    path = _saved(SAC("MlpPolicy", "Pendulum-v1", buffer_size=10), tmp_path)
    with pytest.raises(ValueError, match="which SAC, OwnSAC have"):
        dreamzoo.load(path, trusted=True)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        dreamzoo.load(tmp_path / "missing")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"text\.zip is not of a form .*it wasn't a zip-file"):
        dreamzoo.load(tmp_path / "text")
    with pytest.raises(ValueError, match=r"text\.zip is not a file that agent\.save\(\) wrote"):
        dreamzoo.load(tmp_path / "text", trusted=True)
