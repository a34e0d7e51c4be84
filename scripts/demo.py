"""
Train DreamerV3 on CartPole in a few minutes and compare reality and dream.

    python scripts/demo.py
    make demo DEMO_ARGS="--seed 1 --out runs/demo1"

Writes to ``--out``: model.zip, replay_buffer.npz, TensorBoard logs, learning_curve.png,
open_loop.mp4 (truth, prediction, error) and summary.json. With ``--no-pictures`` it learns,
compares and prints the summary, for runs side by side:
``--precision bf16 --seed 1 --no-pictures --out runs/bf16-1``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import torch as th
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo import DreamerV3
from dreamzoo.analysis.agreement import compare_with_dream
from dreamzoo.analysis.callbacks import DreamVideoCallback
from dreamzoo.analysis.evaluation import RandomPolicy
from dreamzoo.analysis.open_loop import OpenLoop
from dreamzoo.hyperparams import dreamer_v3
from dreamzoo.nn.fast.precision import NAMES

ENV_ID = "CartPole-v1"
MAX_EPISODE_STEPS = 500

#: The library's setting for a laptop with windows half as long: CartPole is learned in minutes.
LAPTOP: dict[str, Any] = dreamer_v3.LAPTOP | {"batch_length": 16}


class TimeLimitCallback(BaseCallback):
    """
    Stop after so many seconds.

    :param seconds: wall clock
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def _on_training_start(self) -> None:
        self.start = time.monotonic()

    def _on_step(self) -> bool:
        return time.monotonic() - self.start < self.seconds


def draw_curve(path: Path, evaluations: Path, random_mean: float) -> None:
    """Draw mean evaluation return over steps."""
    data = np.load(evaluations)
    mean, std = data["results"].mean(1), data["results"].std(1)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(data["timesteps"], mean, marker="o", label="DreamerV3, sampled actions")
    axis.fill_between(data["timesteps"], mean - std, mean + std, alpha=0.2)
    axis.axhline(random_mean, color="black", linestyle=":", label="random policy")
    axis.set_xlabel("agent steps")
    axis.set_ylabel(f"{ENV_ID} return, mean and deviation")
    axis.legend()
    figure.savefig(path, dpi=120)


def cartpole_frames(states: np.ndarray) -> list[np.ndarray]:
    """Render CartPole states (T, 4), half size."""
    env = gym.make(ENV_ID, render_mode="rgb_array")
    env.reset()
    frames = []
    for state in states:
        env.unwrapped.state = state  # type: ignore[attr-defined]
        frames.append(np.asarray(env.render())[100::2, ::2])
    env.close()
    return frames


def write_video(path: Path, shown: OpenLoop) -> None:
    """Write truth, prediction and error below each other; a red bar marks the dreamed part."""
    assert isinstance(shown.truth, th.Tensor)
    assert isinstance(shown.prediction, th.Tensor)
    truth = cartpole_frames(shown.truth[0].numpy())
    prediction = cartpole_frames(shown.prediction[0].numpy())
    frames = []
    for t, (real, dreamed) in enumerate(zip(truth, prediction, strict=True)):
        error = 255 - np.abs(real.astype(int) - dreamed.astype(int)).astype(np.uint8)
        frame = np.concatenate([real, dreamed, error])
        frame[:6] = (200, 30, 30) if t >= shown.context else (30, 160, 30)
        height, width = (n - n % 2 for n in frame.shape[:2])  # video codecs want even sizes
        frames.append(frame[:height, :width])
    imageio.imwrite(path, np.stack(frames), fps=15, macro_block_size=2)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3_000, help="at most, over all environments")
    parser.add_argument("--seconds", type=float, default=330.0, help="of training, at most")
    parser.add_argument("--episodes", type=int, default=20, help="for every mean return")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="more do not help so small a model")
    parser.add_argument("--precision", choices=NAMES, default="auto", help="see the agent's")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--no-pictures", action="store_true")
    parser.add_argument("--no-progress-bar", action="store_true")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, eval_env: VecEnv) -> DreamerV3:
    """Train until it is plainly better than random, the steps are used up or the time is over."""
    env = make_vec_env(ENV_ID, n_envs=4, seed=args.seed)
    model = DreamerV3("MlpPolicy", env, seed=args.seed, precision=args.precision, **LAPTOP)
    model.set_logger(configure(str(args.out), ["csv", "tensorboard"]))
    learned = StopTrainingOnRewardThreshold(reward_threshold=200.0, verbose=1)
    evaluation = EvalCallback(
        eval_env,
        callback_on_new_best=learned,
        n_eval_episodes=args.episodes,
        eval_freq=50,  # every 200 steps of 4 environments
        log_path=str(args.out),
        deterministic=False,
        verbose=0,
    )
    video = [] if args.no_pictures else [DreamVideoCallback(every=250, length=60)]
    callbacks = CallbackList([evaluation, *video, TimeLimitCallback(args.seconds)])
    return model.learn(args.steps, callbacks, progress_bar=not args.no_progress_bar)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    eval_env = make_vec_env(ENV_ID, n_envs=args.episodes, seed=args.seed + 1_000)
    eval_env.action_space.seed(args.seed)
    random_mean, _ = evaluate_policy(RandomPolicy(eval_env), eval_env, args.episodes)
    assert isinstance(random_mean, float)
    print(f"A random policy earns {random_mean:.1f} on {ENV_ID}. Training DreamerV3 ...")
    model = train(args, eval_env)
    model.save(args.out / "model")
    model.save_replay_buffer(args.out / "replay_buffer")

    loaded = DreamerV3.load(args.out / "model", env=eval_env)
    real_mean, _ = evaluate_policy(loaded, eval_env, args.episodes, deterministic=False)
    dream = compare_with_dream(loaded, loaded, eval_env, MAX_EPISODE_STEPS, seed=args.seed)
    summary = {
        "env_id": ENV_ID,
        "total_timesteps": model.num_timesteps,
        "seconds": round(time.monotonic() - start, 1),
        "random_return_mean": random_mean,
        "real_return_mean": real_mean,
        "dream_return_mean": float(dream.dream_returns.mean()),
        "n_eval_episodes": args.episodes,
        "seed": args.seed,
        "precision": model.precision,
    }
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if args.no_pictures:
        print(json.dumps(summary))
        return
    draw_curve(args.out / "learning_curve.png", args.out / "evaluations.npz", random_mean)
    look = DreamVideoCallback(length=100)
    look.init_callback(model)
    write_video(args.out / "open_loop.mp4", look.look())
    report(args.out, summary)


def report(out: Path, summary: dict[str, Any]) -> None:
    """Say what came out, where it lies and what to try next."""
    times = summary["real_return_mean"] / summary["random_return_mean"]
    episodes = summary["n_eval_episodes"]
    print(
        f"""
After {summary["total_timesteps"]} steps, {summary["seconds"]:.0f} s; means of {episodes} episodes:
  random policy, real environment   {summary["random_return_mean"]:7.1f}
  DreamerV3, real environment       {summary["real_return_mean"]:7.1f}  ({times:.1f} times random)
  DreamerV3, inside its own dream   {summary["dream_return_mean"]:7.1f}

In {out}/:
  model.zip            DreamerV3.load("{out}/model").predict(obs, state, episode_start)
  replay_buffer.npz    what it has seen, for dreams that begin there: --replay {out}
  learning_curve.png   evaluation return over steps
  open_loop.mp4        truth, prediction, error; the model sees only what has a green bar
  summary.json         the numbers above
  TensorBoard logs     tensorboard --logdir {out}

Next: dreamzoo play {out} --env {summary["env_id"]}, to steer what it dreams in a browser;
an environment of your own, dreamzoo train --help; docs/environments.md shows how."""
    )
    if times < 5:
        raise SystemExit(f"The demo did not learn: {times:.1f} times random, expected at least 5.")


if __name__ == "__main__":
    main()
