"""Models on the Hub: what is uploaded comes back byte for byte, and loads without trust."""

import functools
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import dreamzoo
from dreamzoo import AGENTS
from dreamzoo.analysis.evaluation import tell_rewards
from dreamzoo.analysis.playing import predict_play
from dreamzoo.common.environments.normalizer import as_in_training
from dreamzoo.hub import load_from_hub, package_to_hub, push_to_hub
from tests.hub.server import Hub

huggingface_hub = pytest.importorskip("huggingface_hub")

#: Tiny agents of each kind: with a replay and a model, on-policy with a model, with none.
SMALL: dict[str, dict[str, Any]] = {
    "dreamer_v3": dict(policy_kwargs=dict(size="debug")),
    "dreamer_v1": dict(policy_kwargs=dict(deter=16, stoch=4, units=16)),
    "dreamer_v2": dict(policy_kwargs=dict(deter=16, stoch=4, classes=4, units=16)),
    "merlin": dict(policy_kwargs=dict(size="debug", rows=8)),
    "rl_mem": dict(policy_kwargs=dict(size="debug", rows=8)),
    "rl_lstm": dict(policy_kwargs=dict(size="debug")),
    "discrete_sac": dict(policy_kwargs=dict(net_arch=[16])),
    "planet": dict(
        policy_kwargs=dict(deter=16, stoch=4, units=16),
        **dict(candidates=8, elites=2, planning_iterations=1, planning_horizon=2),
    ),
}
#: Of an agent that does not take discrete actions; all others play CartPole.
ENVS = {"planet": "Pendulum-v1"}


@pytest.fixture(autouse=True)
def _few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model predict fewer and shorter ones than a card has else."""
    few = functools.partial(predict_play, length=20, compared=4)
    monkeypatch.setattr("dreamzoo.hub.package.predict_play", few)


def make(name: str, env: Any = None) -> Any:
    env = ENVS.get(name, "CartPole-v1") if env is None else env
    return AGENTS[name]("MlpPolicy", env, seed=0, **SMALL[name])


def test_all_agents_are_there() -> None:
    assert SMALL.keys() == AGENTS.keys()


def test_what_is_pushed_comes_back_byte_for_byte(hub: Hub, tmp_path: Path) -> None:
    make("dreamer_v3").save(tmp_path / "agent.zip")
    url = push_to_hub("me/agent", tmp_path / "agent.zip", token="hf_x")
    assert url == f"{hub.address}/me/agent"
    sent = (tmp_path / "agent.zip").read_bytes()
    assert hub.repos["me/agent"] == {"agent.zip": sent}
    path = load_from_hub("me/agent")
    assert Path(path).read_bytes() == sent
    assert type(dreamzoo.load(path)).__name__ == "DreamerV3"


@pytest.mark.parametrize("name", SMALL)
def test_every_agent_is_packaged_with_what_is_known_of_it(name: str, hub: Hub) -> None:
    model, env_id = make(name), ENVS.get(name, "CartPole-v1")
    env = gym.make(env_id, render_mode="rgb_array", max_episode_steps=20)
    repo = f"me/{name}-{env_id}"
    kind = type(model).__name__
    url = package_to_hub(
        *(model, f"{name}-{env_id}", kind, env_id, env, repo),
        token="hf_x",
        n_eval_episodes=2,
        video_length=5,
    )
    assert url == f"{hub.address}/{repo}"
    files = hub.repos[repo]
    dreams = {"open_loop.png"} if hasattr(model, "world_model") else set()
    known = {f"{name}-{env_id}.zip", "README.md", "config.json", "results.json", "replay.mp4"}
    assert files.keys() == known | dreams
    results = json.loads(files["results.json"])
    assert results["n_eval_episodes"] == 2
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    (result,) = card.data.eval_results
    assert (card.data.model_name, result.dataset_name) == (kind, env_id)
    mean, std = results["mean_reward"], results["std_reward"]
    assert result.metric_value == f"{mean:.2f} +/- {std:.2f}"
    assert f"# {kind} playing {env_id}" in card.text
    assert f"/{repo}/resolve/main/replay.mp4" in card.text
    assert ("| steps ahead |" in card.text) == bool(dreams)
    same = dreamzoo.load(load_from_hub(repo))
    obs = np.full((1, *model.observation_space.shape), 0.02, np.float32)
    for _ in range(2):
        seeded = [agent.set_random_seed(0) or agent for agent in (same, model)]
        one, other = (agent.predict(obs, deterministic=True)[0] for agent in seeded)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["discrete_sac", "rl_lstm"])
def test_the_code_of_a_card_runs(
    name: str, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It plays as the card's return was played: as many episodes, with the same actions."""
    env: Any = VecNormalize(make_vec_env("CartPole-v1"))
    model = make(name, env)
    env.obs_rms.mean = np.full(4, 0.3)
    said = (model, "a", type(model).__name__, "CartPole-v1", env, "me/a")
    settings: Any = dict(env_kwargs=dict(sutton_barto_reward=True), is_deterministic=False)
    package_to_hub(*said, n_eval_episodes=2, video_length=5, **settings)
    played: list[dict[str, Any]] = []

    def seen(*args: Any, **kwargs: Any) -> Any:
        played.append(inspect.signature(evaluate_policy).bind(*args, **kwargs).arguments)
        return evaluate_policy(*args, **kwargs)

    monkeypatch.setattr("stable_baselines3.common.evaluation.evaluate_policy", seen)
    assert env.training
    assert env.norm_reward
    text = hub.repos["me/a"]["README.md"].decode()
    code = text.split("```python\n")[1].split("```")[0]
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert np.array_equal(namespace["env"].obs_rms.mean, env.obs_rms.mean)
    assert namespace["env"].envs[0].unwrapped._sutton_barto_reward
    assert capsys.readouterr().out.startswith("(")
    (asked,) = played
    assert (asked["n_eval_episodes"], asked["deterministic"]) == (2, False)
    assert asked.get("callback") is (tell_rewards if name == "rl_lstm" else None)


@pytest.mark.parametrize("name", ["rl_mem", "rl_lstm"])
def test_whatever_a_card_shows_was_played_with_rewards(
    name: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes and film; of sequences, ``tests/analysis`` makes sure."""
    model, heard = make(name), []
    predict, names = model.predict, model.policy.memory.names

    def note_what_is_heard(obs: Any, state: Any = None, *rest: Any, **more: Any) -> Any:
        if state is not None:
            heard.append([state[names.index(part)].tolist() for part in ("reward", "told")])
        return predict(obs, state, *rest, **more)

    monkeypatch.setattr(model, "predict", note_what_is_heard)
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    said = (model, "a", type(model).__name__, "CartPole-v1", env, "me/a")
    package_to_hub(*said, n_eval_episodes=1, video_length=5)
    assert len(heard) > 10
    assert all(parts == [[[1.0]], [[1.0]]] for parts in heard)


def test_agents_of_sb3_are_packaged_and_ask_for_trust(hub: Hub) -> None:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8)
    env = make_vec_env("CartPole-v1")
    said = (model, "ppo", "PPO", "CartPole-v1", env, "me/ppo")
    package_to_hub(*said, n_eval_episodes=1, video_length=5)
    assert "pass `trusted=True`" in hub.repos["me/ppo"]["README.md"].decode()
    path = load_from_hub("me/ppo")
    with pytest.raises(ValueError, match="trusted=True"):
        dreamzoo.load(path)
    assert isinstance(dreamzoo.load(path, trusted=True), PPO)


class Payload:
    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Payload, "ran", True))


@pytest.mark.parametrize("folder", ["", "runs/cartpole [1]/", "*/"])
def test_statistics_are_those_beside_the_model(folder: str, hub: Hub) -> None:
    hub.repos["me/runs"] = {
        **{f"{folder}agent.zip": b"model", f"{folder}vecnormalize.zip": b"its own"},
        **{"other/agent.zip": b"", "other/vecnormalize.zip": b"of another"},
    }
    path = Path(load_from_hub("me/runs", f"{folder}agent.zip"))
    assert path.read_bytes() == b"model"
    assert (path.parent / "vecnormalize.zip").read_bytes() == b"its own"
    root = path.parents[folder.count("/")]
    assert len([x for x in root.rglob("*") if x.is_file()]) == 2


def test_code_in_a_repository_does_not_run(hub: Hub) -> None:
    hub.repos["me/evil"] = {
        "evil.zip": pickle.dumps(Payload()),
        "vecnormalize.zip": pickle.dumps(Payload()),
    }
    path = load_from_hub("me/evil")
    with pytest.raises(ValueError, match=r"evil\.zip"):
        dreamzoo.load(path)
    with pytest.raises(ValueError, match=r"vecnormalize\.zip"):
        as_in_training(make_vec_env("CartPole-v1"), path)
    assert not Payload.ran


def test_models_that_are_not_there_are_named(hub: Hub, tmp_path: Path) -> None:
    hub.repos["me/agent"] = {"other.zip": b"", "README.md": b""}
    with pytest.raises(FileNotFoundError, match=r"no file agent\.zip. Its zip files: other\.zip"):
        load_from_hub("me/agent")
    with pytest.raises(OSError, match="me/nothing"):
        load_from_hub("me/nothing")
    with pytest.raises(FileNotFoundError, match="Nothing was uploaded"):
        push_to_hub("me/new", tmp_path / "none.zip")
    env = make_vec_env("Acrobot-v1")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        package_to_hub(make("dreamer_v3"), "a", "DreamerV3", "Acrobot-v1", env, "me/new")
    with pytest.raises(FileNotFoundError, match="no folder"):
        package_to_hub(
            make("dreamer_v3"), "a", "DreamerV3", "x", env, "me/new", logs=tmp_path / "no"
        )
    assert "me/new" not in hub.repos


def test_images_become_a_video_of_the_dream(hub: Hub) -> None:
    env = make_vec_env(lambda: FakeImageEnv(screen_height=64, screen_width=64, n_channels=3))
    model = AGENTS["dreamer_v3"]("CnnPolicy", env, seed=0, **SMALL["dreamer_v3"])
    package_to_hub(model, "a", "DreamerV3", "pictures", env, "me/a", n_eval_episodes=1)
    files = hub.repos["me/a"]
    assert files.keys() >= {"observation.mp4", "observation.png", "open_loop.png"}
    assert "replay.mp4" not in files
    assert "/me/a/resolve/main/observation.mp4" in files["README.md"].decode()


@pytest.mark.parametrize("name", ["dreamer_v3", "merlin"])
def test_functions_of_sb3_take_our_agents(
    name: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sb3 = pytest.importorskip("huggingface_sb3")
    model = make(name)
    env = make_vec_env("CartPole-v1", env_kwargs=dict(render_mode="rgb_array"))
    sb3.package_to_hub(
        *(model, "agent", type(model).__name__, "CartPole-v1", env, "me/agent", "hello"),
        n_eval_episodes=1,
        video_length=3,
    )
    assert json.loads(hub.repos["me/agent"]["config.json"])["gamma"] == model.gamma
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    path = sb3.load_from_hub("me/agent", "agent.zip")
    assert type(dreamzoo.load(path)) is type(model)
    assert len(evaluate_policy(dreamzoo.load(path), env, 1)) == 2
