"""One seed of a task: a world from the record, PPO in its dream, and what both earn in reality."""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo import DreamerV3
from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.analysis.evaluation import (
    RandomPolicy,
    confidence_interval,
    play_episodes,
    seed_episodes,
)
from dreamzoo.analysis.training_in_dreams import train_in_dream
from dreamzoo.benchmark.offline.rows import Earned, HeldOut
from dreamzoo.benchmark.offline.tasks import OfflineTask
from dreamzoo.benchmark.run_config import current_commit, default_policy
from dreamzoo.common.recording import Recording
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.saves import SAVES
from dreamzoo.envs import make_env
from dreamzoo.offline import held_out_errors

RESULTS = "results.json"
#: Windows of the replay in whose states dreams begin.
POOL = 256
#: Steps of a sequence of which the model sees the first five.
LENGTH = 50


class Outcome(NamedTuple):
    """What a seed has come to."""

    earned: list[Earned]
    errors: list[HeldOut]


def run_seed(task: OfflineTask, recording: Recording, seed: int, folder: Path) -> Outcome:
    """
    Learn, dream and evaluate, or go on where an earlier call was; what is finished is read.

    :param task: says how long
    :param recording: what :func:`record_behavior` has recorded
    :param seed: of the split, the world, PPO and the real episodes
    :param folder: of this seed
    """
    if (folder / RESULTS).exists():
        return read_outcome(folder)
    folder.mkdir(parents=True, exist_ok=True)
    commit = _note_commit(folder)
    training, held_out = recording.split(task.share, seed)
    model = learn_world(task, training, seed, folder / "world")
    errors = _held_out(task, model, held_out, seed, commit)
    ppo = learn_in_dream(task, model, seed, folder / "ppo.zip")
    found = _returns(task, recording, model, ppo, seed)
    spent = (training.steps, model.num_timesteps, ppo.num_timesteps)
    earned = [
        Earned(
            *(task.env, seed, who, round(x["mean"], 2), x.get("half_width_95") or 0.0),
            *(x["episodes"], *spent, commit),
        )
        for who, x in found.items()
    ]
    with replaced_file(folder / RESULTS, "json") as file:
        file.write(json.dumps({"earned": earned, "errors": errors}).encode())
    return Outcome(earned, errors)


def _returns(
    task: OfflineTask, recording: Recording, model: DreamerV3, ppo: Any, seed: int
) -> dict[str, dict[str, Any]]:
    """Say what everyone earns, by their names in the file of rows."""
    env = make_vec_env(partial(make_env, task.env), 10)
    policies = {"random": RandomPolicy(env), "dreamer_v3": model, "ppo_in_dream": ppo}
    found = {name: evaluate(task, policy, env, seed) for name, policy in policies.items()}
    dream = model.dream_env(10, horizon=task.episode_steps)
    found["promised"] = evaluate(task, ppo, dream, seed)
    returns = recording.returns
    found["behavior"] = {**confidence_interval(returns), "episodes": len(returns)}
    found["best_episode"] = {"mean": float(returns.max()), "episodes": 1}
    return found


def _held_out(
    task: OfflineTask, model: DreamerV3, held_out: Recording, seed: int, commit: str
) -> list[HeldOut]:
    found = held_out_errors(model, held_out, length=LENGTH, sequences=256, seed=seed)
    return [
        HeldOut(task.env, seed, e.horizon, part, wrong, unchanged, e.sequences, commit)
        for e in found
        for part, wrong, unchanged in [
            *((key, x, e.unchanged[key]) for key, x in e.predicted.items()),
            ("reward", e.reward, math.nan),
        ]
    ]


def read_outcome(folder: Path) -> Outcome:
    """
    Read what a finished seed has come to.

    :param folder: of the seed
    """
    found = json.loads((folder / RESULTS).read_text())
    return Outcome(
        [Earned(*row) for row in found["earned"]], [HeldOut(*row) for row in found["errors"]]
    )


def learn_world(task: OfflineTask, training: Recording, seed: int, folder: Path) -> DreamerV3:
    """
    Learn a world, and an actor in it, from a recording alone.

    :param task: says for how many updates
    :param training: episodes to learn from
    :param seed: of the agent
    :param folder: of its saves, from which it goes on
    """
    if (folder / SAVES).exists():
        model = DreamerV3.load(folder, env=training.env())
        model.resume(folder)
    else:
        policy = default_policy("dreamer_v3", task.env, [])
        model = DreamerV3(policy, training.env(), seed=seed, **task.model_kwargs)
        model.fit_replay(training)
    left = task.updates - model.num_timesteps
    if left > 0:
        save = SaveCallback(folder, every=500)
        model.learn_offline(left, callback=save, reset_num_timesteps=False)
    return model


def learn_in_dream(task: OfflineTask, model: DreamerV3, seed: int, path: Path) -> Any:
    """
    Train PPO in the dream of a world, and nowhere else.

    :param task: says how long
    :param model: with the replay in whose states dreams begin
    :param seed: of PPO
    :param path: file that keeps it, and from which it is read if it is there
    """
    if path.exists():
        return PPO.load(path, device="cpu")
    model.batch_size = POOL
    dream = model.dream_env(task.n_dreams, horizon=task.dream_horizon, start="replay")
    trained = train_in_dream("ppo", dream, task.dream_steps, seed=seed, **task.ppo_kwargs)
    with replaced_file(path, "zip") as file:
        trained.agent.save(file)  # type: ignore[arg-type]
    return trained.agent


def evaluate(task: OfflineTask, policy: Any, env: VecEnv, seed: int) -> dict[str, Any]:
    """
    Play whole episodes, the same for every policy and whatever was computed before.

    :param task: says how many
    :param policy: with sampled actions
    :param env: the real environment, or a dream of whole episodes
    :param seed: of the world
    """
    set_random_seed(seed + 10_000)
    seed_episodes(env, seed + 10_000)
    found: Mapping[str, Any] = confidence_interval(play_episodes(policy, env, task.real_episodes))
    return {**found, "episodes": task.real_episodes}


def _note_commit(folder: Path) -> str:
    """Remember which code was at it; return all that were."""
    path = folder / "commits.txt"
    known = path.read_text().split() if path.exists() else []
    known = list(dict.fromkeys([*known, current_commit() or "unknown"]))
    path.write_text("\n".join(known))
    return "+".join(known)
