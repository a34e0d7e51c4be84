"""On a GPU everything runs there, and what is saved there loads anywhere."""

from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from dreamzoo import DreamerV3


@pytest.mark.gpu
def test_training_on_cuda_saves_what_a_cpu_loads(tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
    model = DreamerV3(
        "MlpPolicy",
        env,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        learning_starts=20,
        train_ratio=4,
        seed=0,
        device="cuda",
        precision="fp32",
    ).learn(100)
    assert {p.device.type for p in model.policy.parameters()} == {"cuda"}
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = DreamerV3.load(tmp_path / "model", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    obs = np.zeros((2, 4), np.float32)
    on_gpu, _ = model.predict(obs, deterministic=True)
    on_cpu, _ = loaded.predict(obs, deterministic=True)
    np.testing.assert_array_equal(on_gpu, on_cpu)
