"""A model with all that others need to judge it, as a repository on the Hugging Face Hub."""

import datetime
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import get_system_info
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, unwrap_vec_normalize

from dreamzoo.analysis.evaluation import check_spaces, hears, play_episodes, tell
from dreamzoo.analysis.horizon_errors import table
from dreamzoo.analysis.open_loop_files import write_open_loop
from dreamzoo.analysis.playing import predict_play
from dreamzoo.common.environments.normalizer import (
    NORMALIZER,
    RewardUnit,
    save_normalizer,
    statistics_at_rest,
)
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.envs.errors import requires_extra
from dreamzoo.envs.rendering import film_writer
from dreamzoo.hub.card import REPLAY, Card, write_card
from dreamzoo.hub.transfer import hub_api


def package_to_hub(
    model: BaseAlgorithm,
    model_name: str,
    model_architecture: str,
    env_id: str,
    eval_env: VecEnv | gym.Env,
    repo_id: str,
    commit_message: str | None = None,
    is_deterministic: bool = True,
    n_eval_episodes: int = 10,
    token: str | None = None,
    video_length: int = 1000,
    logs: str | Path | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> str:
    """
    Evaluate an agent, film it and its dream, and upload both with the model and a model card.

    The arguments are those of SB3's function of this name, but the last. Beside what that one
    uploads, the card shows the model's open-loop predictions and their error by horizon, where the
    agent has a world model, and what the file holds. Statistics of a ``VecNormalize`` are saved as
    numbers, not as a pickle. Nothing is uploaded before all of it is made.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.hub import package_to_hub
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> env = gymnasium.make("CartPole-v1", render_mode="rgb_array")  # doctest: +SKIP
        >>> name = "dreamer_v3-CartPole-v1"
        >>> package_to_hub(
        ...     model, name, "DreamerV3", "CartPole-v1", env, f"me/{name}"
        ... )  # doctest: +SKIP

    :param model: any agent of dreamzoo or SB3
    :param model_name: of its file, without ``.zip``
    :param model_architecture: name of the algorithm, such as ``DreamerV3``
    :param env_id: name of the environment, for :func:`dreamzoo.envs.make_env` or Gymnasium
    :param eval_env: to play in, wrapped as in training; filmed if its ``render_mode`` is
        ``rgb_array``. Its statistics, if it normalizes, stay as they are
    :param repo_id: of the repository: ``user/name``; made if it does not exist
    :param commit_message: default: says which agent plays what
    :param is_deterministic: most likely actions instead of sampled ones
    :param n_eval_episodes: whose returns the card tells
    :param token: of an account; default: the one of ``hf auth login``
    :param video_length: steps of the video
    :param logs: folder of TensorBoard's files, uploaded as ``logs``
    :param env_kwargs: of :func:`dreamzoo.envs.make_env`, for those who use the model
    :return: address of the repository
    :raises ValueError: for an environment with other spaces than the model's
    :raises FileNotFoundError: if there is no folder ``logs``
    :raises ImportError: without the packages that are needed, with the line that installs them
    """
    api = hub_api(token)
    with requires_extra("hub"):
        import imageio_ffmpeg  # noqa: F401  # before minutes are spent
    if logs is not None and not Path(logs).is_dir():
        raise FileNotFoundError(f"There is no folder {logs}. Nothing was uploaded.")
    env = eval_env if isinstance(eval_env, VecEnv) else DummyVecEnv([lambda: Monitor(eval_env)])
    check_spaces(model, env)
    with tempfile.TemporaryDirectory() as scratch, statistics_at_rest(env):
        folder = Path(scratch)
        file = folder / f"{model_name.removesuffix('.zip')}.zip"
        model.save(file)
        if (normalizer := unwrap_vec_normalize(env)) is not None:
            save_normalizer(normalizer, folder / NORMALIZER)
        returns = play_episodes(model, env, n_eval_episodes, is_deterministic)
        _write_json(folder / "results.json", _results(returns, is_deterministic))
        _write_json(folder / "config.json", _config(model, env_id, env_kwargs))
        _film(model, env, video_length, is_deterministic, folder / REPLAY)
        errors = _dream(model, env, folder) if isinstance(model, HasWorldModel) else ""
        if logs is not None:
            shutil.copytree(logs, folder / "logs")
        card = Card(
            algorithm=model_architecture,
            env_id=env_id,
            env_kwargs=env_kwargs or {},
            repo_id=repo_id,
            file=file,
            steps=model.num_timesteps,
            returns=returns,
            deterministic=is_deterministic,
            hears=hears(model),
            errors=errors,
        )
        write_card(card)
        url = api.create_repo(repo_id, exist_ok=True)
        message = commit_message or f"{model_architecture} playing {env_id}"
        api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message=message)
    return str(url)


def _results(returns: np.ndarray, deterministic: bool) -> dict[str, Any]:
    """Name results as SB3's function does."""
    return {
        "mean_reward": float(returns.mean()),
        "std_reward": float(returns.std()),
        "is_deterministic": deterministic,
        "n_eval_episodes": len(returns),
        "eval_datetime": datetime.datetime.now().isoformat(),
    }


def _config(model: BaseAlgorithm, env_id: str, env_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "agent": type(model).__name__,
        "env_id": env_id,
        "env_kwargs": env_kwargs or {},
        "num_timesteps": model.num_timesteps,
        "system_info": get_system_info(print_info=False)[0],
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _film(model: Any, env: VecEnv, length: int, deterministic: bool, path: Path) -> None:
    """Film the agent, if the environment draws itself."""
    if getattr(env, "render_mode", None) != "rgb_array":
        return
    env = model._wrap_env(env, verbose=0, monitor_wrapper=False)
    obs, state, starts = env.reset(), None, np.ones(env.num_envs, bool)
    fps: Any = (env.metadata or {}).get("render_fps", 30)
    with film_writer(path, fps, "hub") as film:
        for _ in range(length):
            film.append_data(env.render())
            action, state = model.predict(obs, state, starts, deterministic)
            obs, rewards, starts, _ = env.step(action)
            if hears(model):
                tell(model, state, RewardUnit.of(model, env).learned(rewards))


def _dream(model: HasWorldModel, env: VecEnv, folder: Path) -> str:
    """Write what the model predicts of the agent's play; return the table of its errors."""
    shown, errors = predict_play(model, env)
    write_open_loop(folder, shown, model.policy.observation_codec)
    return table(errors)
