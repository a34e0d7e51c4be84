"""One page about a model: its training, its dreams, and how well they agree with reality."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.agreement import compare_with_dream
from dreamzoo.analysis.agreement_report import agreement_figure, agreement_table
from dreamzoo.analysis.figures import image_keys, vector_figure
from dreamzoo.analysis.horizon_errors import HorizonError
from dreamzoo.analysis.html_page import html_page, html_table, image, note, preformatted, video
from dreamzoo.analysis.open_loop import OpenLoop
from dreamzoo.analysis.open_loop_files import write_open_loop
from dreamzoo.analysis.playing import predict_play
from dreamzoo.benchmark.results.logs import read_log
from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.envs.errors import requires_extra

with requires_extra("video"):
    from matplotlib.figure import Figure

Log = Mapping[str, Sequence[tuple[int, float]]]


def model_report(
    model: HasWorldModel,
    env: VecEnv,
    *,
    title: str,
    held: str = "",
    run: Path | None = None,
    horizon: int = 200,
    seed: int = 0,
) -> str:
    """
    Write a page in HTML, with all pictures and videos in it.

    It has the curves of training, videos and curves of open-loop predictions, their error by
    horizon, returns in reality and in the dream, and what the replay holds; each where there is
    something to show.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.model_report import model_report
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = make_vec_env("CartPole-v1", n_envs=4)
        >>> model = DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug")).learn(100)
        >>> page = model_report(model, env, title="A model", horizon=10)
        >>> [name for name in ("Training", "Replay") if f">{name}<" in page]
        ['Replay']

    :param model: agent with a world model, and with its replay, if that shall be described
    :param env: wrapped as the model's own environment was; each of its environments plays an
        episode in reality and one in the dream
    :param title: of the page
    :param held: what the model's file holds, as ``dreamzoo inspect`` says it
    :param run: folder of ``dreamzoo train``, with the logs of training
    :param horizon: steps of these episodes at most
    :param seed: of environment and dream
    :raises ValueError: for an environment with other spaces
    """
    parts = [preformatted(held)] if held else []
    if run is not None:
        parts += _training(read_log(run))
    shown, errors = predict_play(model, env, seed=seed)
    parts += _predictions(model, shown)
    parts += _errors(errors)
    agreement = compare_with_dream(model, model, env, horizon, seed=seed)
    parts += [
        "<h2>Reality and dream</h2>",
        note(
            f"{env.num_envs} episodes of at most {horizon} steps from the same first observations, "
            "in the real environment and in the dream."
        ),
        image(agreement_figure(agreement), "errors and returns in reality and dream"),
        preformatted(agreement_table(agreement)),
    ]
    buffer = getattr(model, "replay_buffer", None)
    if isinstance(buffer, SequenceReplayBuffer) and buffer.size():
        parts += _replay(buffer)
    return html_page(title, parts)


def _training(log: Log) -> list[str]:
    """Draw returns, entropies of the latents and of the policy, and losses."""
    groups = {
        "returns": ("rollout/ep_rew_mean", "eval/mean_reward"),
        "entropies, nats": ("train/prior_ent", "train/post_ent", "train/entropy", "train/kl"),
    }
    losses = sorted(name for name in log if name.startswith("train/") and name.endswith("_loss"))
    panels = [(name, [x for x in keys if x in log]) for name, keys in groups.items()]
    panels = [(name, found) for name, found in panels if found]
    panels += [(name.removeprefix("train/"), [name]) for name in losses]
    if not panels:
        return []
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False).flatten()
    for axis, (name, keys) in zip(axes, panels, strict=False):
        for key in keys:
            axis.plot(*zip(*log[key], strict=True), label=key.partition("/")[2], linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
        if len(keys) > 1:
            axis.legend(fontsize=7, frameon=False)
    for axis in axes[len(panels) :]:
        axis.remove()
    return ["<h2>Training</h2>", note("Over environment steps."), image(figure, "training curves")]


def _predictions(model: HasWorldModel, shown: OpenLoop) -> list[str]:
    codec = model.policy.observation_codec
    said = (
        f"The model sees the first {shown.context} steps of what the agent does, and goes on with "
        "its actions alone."
    )
    if keys := image_keys(codec):
        said += " Of images the truth is above, the dream in the middle, the difference below."
    parts = ["<h2>Dreams</h2>", note(said)]
    with tempfile.TemporaryDirectory() as scratch:
        write_open_loop(Path(scratch), shown, codec)
        for key in keys:
            parts.append(video(Path(scratch, f"{key.name}.mp4"), f"open-loop video of {key.name}"))
    parts.append(image(vector_figure(shown, codec), "truth and prediction of one sequence"))
    return parts


def _errors(errors: Sequence[HorizonError]) -> list[str]:
    """Draw the error of every key beside the error of saying that nothing changes."""
    if not errors:
        return []
    keys = list(errors[0].predicted)
    columns = min(len(keys) + 1, 3)
    rows = -(-(len(keys) + 1) // columns)
    figure = Figure(figsize=(3.7 * columns, 2.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    at = [e.horizon for e in errors]
    for axis, key in zip(axes, keys, strict=False):
        axis.plot(at, [e.predicted[key] for e in errors], label="model", color="tab:red")
        unchanged = [e.unchanged[key] for e in errors]
        axis.plot(at, unchanged, label="nothing changes", color="0.5")
        axis.set_title(key, fontsize=9)
        axis.legend(fontsize=7, frameon=False)
    axes[len(keys)].plot(at, [e.reward for e in errors], color="tab:red")
    axes[len(keys)].set_title("reward", fontsize=9)
    for axis in axes[len(keys) + 1 :]:
        axis.remove()
    for axis in axes[: len(keys) + 1]:
        axis.set_xlabel("steps ahead", fontsize=8)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
    return [
        "<h2>Error by horizon</h2>",
        note(
            "Root mean squared, in the units in which the agent gets observations and rewards, "
            f"over {errors[0].sequences} sequences, of which {errors[-1].sequences} reach the last "
            "step."
        ),
        image(figure, "error by horizon"),
    ]


def _replay(buffer: SequenceReplayBuffer) -> list[str]:
    """Describe whole episodes of a replay, and its actions."""
    stored = {name: np.asarray(x) for name, x in buffer.stored().items() if name in _STORED}
    returns, lengths, terminated = _episodes(buffer, stored)
    used = int(buffer._count.clip(max=buffer.buffer_size).sum())
    rows = [
        ["records", f"{used:,} of {buffer.buffer_size * buffer.n_envs:,}"],
        ["streams", f"{buffer.n_envs}"],
        ["size", f"{buffer.nbytes(used) / 1e6:,.1f} MB"],
        ["whole episodes", f"{len(returns):,}"],
    ]
    if len(returns):
        rows += [
            ["their return", f"{returns.mean():.4g}, {returns.min():.4g} to {returns.max():.4g}"],
            ["their steps", f"{lengths.mean():.4g}, {lengths.min():,} to {lengths.max():,}"],
            ["ended by termination", f"{100 * terminated.mean():.0f} %"],
        ]
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    axes = figure.subplots(1, 3)
    acted = stored["actions"][: buffer._used()].reshape(-1, buffer.action_dim)
    for axis, title, values in zip(
        axes,
        ("return", "steps of an episode", "actions, all dimensions"),
        (returns, lengths, acted.ravel()),
        strict=True,
    ):
        axis.hist(values, bins=30, color="0.5")
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
    return ["<h2>Replay</h2>", html_table(["", ""], rows), image(figure, "what the replay holds")]


_STORED = ("actions", "rewards", "dones", "timeouts", "episode_starts")


def _episodes(
    buffer: SequenceReplayBuffer, stored: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return returns, steps and whether it was terminated of every whole episode, in any order."""
    found: list[tuple[float, int, bool]] = []
    for env in range(buffer.n_envs):
        count = int(buffer._count[env])
        kept = min(count, buffer.buffer_size)
        order = np.arange(count - kept, count) % buffer.buffer_size
        part = {name: x[order, env] for name, x in stored.items() if name != "actions"}
        first = np.flatnonzero(part["episode_starts"])
        for start, after in zip(first, [*first[1:], kept], strict=True):
            last = after - 1
            if part["dones"][last]:
                over = not part["timeouts"][last]
                found.append((float(part["rewards"][start:after].sum()), last - start, over))
    columns = zip(*found, strict=True) if found else ((), (), ())
    returns, lengths, terminated = (np.array(list(column)) for column in columns)
    return returns, lengths, terminated
