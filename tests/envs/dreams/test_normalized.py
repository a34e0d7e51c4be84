"""Dreams of agents that learned behind SB3's VecNormalize."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from tests.envs.dreams.conftest import BOX, Toy
from tests.facts import HAS_MODEL
from tests.sb3.conftest import TINY, TINY_POLICY

FAR = spaces.Box(90.0, 110.0, (3,), np.float64)
COUNTS = spaces.Box(0, 1_000, (3,), np.int64)
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
MIXED = spaces.Dict({"vector": FAR, "number": spaces.Discrete(4), "image": IMAGE})


def make_normalized(space: spaces.Space, **kwargs: Any) -> VecNormalize:
    """Make one environment behind VecNormalize."""
    if isinstance(space, spaces.Dict):
        kwargs |= {"norm_obs_keys": ["vector"]}
    return VecNormalize(DummyVecEnv([lambda: Toy(space, BOX)]), **kwargs)


def make_agent(name: str, env: Any, **kwargs: Any) -> WorldModelAlgorithm:
    """Make a tiny agent of either kind."""
    is_dict = isinstance(env.observation_space, spaces.Dict)
    return HAS_MODEL[name](
        "MultiInputPolicy" if is_dict else "MlpPolicy",
        env,
        policy_kwargs=TINY_POLICY[name],
        seed=0,
        **{**TINY[name], **kwargs},
    )


@pytest.mark.parametrize("name", HAS_MODEL)
@pytest.mark.parametrize("space", [FAR, COUNTS, MIXED], ids=["box", "integers", "dict"])
def test_the_space_is_what_the_dream_gives(name: str, space: spaces.Space, tmp_path: Path) -> None:
    agent = make_agent(name, make_normalized(space, clip_obs=0.25)).learn(30)
    agent.save(tmp_path / "agent")
    for model in (agent, tmp_path / "agent.zip"):
        dream = DreamVectorEnv(model, 50)
        shown: Any = dream.single_observation_space
        single = {"": shown} if not isinstance(shown, spaces.Dict) else shown.spaces
        raw = {"": space} if not isinstance(space, spaces.Dict) else space.spaces
        for key, part in single.items():
            if key in ("", "vector"):
                assert part == spaces.Box(-0.25, 0.25, (3,), np.float32)
            else:
                assert part == raw[key]
        obs: Any = dream.reset(seed=0)[0]
        values = (obs if isinstance(obs, dict) else {"": obs})["" if "" in single else "vector"]
        assert 0.2 < values.abs().max() <= 0.25
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*not.*normalized|.*symmetric.*|.*render.*")
            check_env(DreamEnv(model), skip_render_check=True)
            sb3_check_env(DreamEnv(model))
    assert agent.dream_env(2).observation_space == dream.single_observation_space
    assert agent.observation_space == space


def test_a_policy_of_the_dream_acts_on_the_normalized_environment() -> None:
    env = make_normalized(FAR)
    agent = make_agent("dreamer_v3", env).learn(20)
    policy = PPO("MlpPolicy", agent.dream_env(2, horizon=5), n_steps=8, batch_size=8).learn(16)
    env.training = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Monitor.*")
        for actor in (policy, agent):
            for where in (env, agent.dream_env(2, horizon=5)):
                assert np.isfinite(evaluate_policy(actor, where, 2)[0])


def test_an_agent_that_has_not_learned_dreams_as_it_will() -> None:
    agent = make_agent("dreamer_v3", make_normalized(FAR))
    before = agent.dream_env(1)
    assert before.observation_space == spaces.Box(-10, 10, (3,), np.float32)
    agent.learn(10)
    before.reset()


def test_a_dream_of_before_another_normalization_is_refused() -> None:
    agent = make_agent("dreamer_v3", make_normalized(FAR)).learn(10)
    dream, latent = DreamVectorEnv(agent), DreamVectorEnv(agent, observation="latent")
    dream.reset(seed=0)
    agent.set_env(make_normalized(FAR, clip_obs=5.0))
    agent.learn(10, reset_num_timesteps=False)
    with pytest.raises(ValueError, match=r"(?s)Box\(-10.0.*Box\(-5.0.*Make a new dream"):
        dream.reset()
    latent.reset()
    assert DreamVectorEnv(agent).single_observation_space.high.max() == 5.0  # type: ignore[attr-defined]


def test_files_of_before_the_bounds_were_saved(tmp_path: Path) -> None:
    agent = make_agent("planet", make_normalized(FAR)).learn(5)
    agent._normalized = frozenset({"observation"})  # type: ignore[assignment]
    agent.save(tmp_path / "agent")
    again = DreamVectorEnv(type(agent).load(tmp_path / "agent.zip", trusted=True))
    assert again.single_observation_space == spaces.Box(-10, 10, (3,), np.float32)
