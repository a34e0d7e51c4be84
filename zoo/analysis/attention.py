"""What an agent with an external memory reads while it acts."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.envs.errors import requires_extra
from dreamzoo.merlin.external_memory import ExternalMemoryAgent
from dreamzoo.nn.process import in_own_precision

with requires_extra("video"):
    from matplotlib.figure import Figure


class Attention(NamedTuple):
    """
    What the policy has read in T steps from the beginning of an episode.

    :param weights: of every row in every read, (T, K, N); row i was written after step i. With more
        steps than rows some were written again
    :param rewards: (T,)
    """

    weights: np.ndarray
    rewards: np.ndarray


@th.no_grad()
def read_attention(
    model: ExternalMemoryAgent,
    env: VecEnv,
    *,
    deterministic: bool = True,
    steps: int | None = None,
) -> Attention:
    """
    Play one episode, and note what the policy reads.

    Example:
        >>> from dreamzoo import MERLIN
        >>> from dreamzoo.analysis.attention import read_attention
        >>> from dreamzoo.envs import TMazeVectorEnv, VectorEnvToVecEnv
        >>> env = VectorEnvToVecEnv(TMazeVectorEnv(1, length=5))
        >>> model = MERLIN("MlpPolicy", env, policy_kwargs=dict(rows=10))
        >>> seen = read_attention(model, env)
        >>> seen.weights.shape, bool(seen.weights[0].any())  # nothing was written before step 0
        ((6, 1, 10), False)

    :param model: MERLIN or RL-MEM
    :param env: whose first environment is shown
    :param deterministic: most likely actions instead of samples
    :param steps: at most; None: until the episode ends, which not every one does
    :raises ValueError: for a model without a memory
    """
    policy, play = model.policy, in_own_precision(type(model.policy).act)
    policy.set_training_mode(False)
    n = env.num_envs
    obs: Any = env.reset()
    state, is_first = policy.initial_state(n), th.ones(n, dtype=th.bool, device=policy.device)
    weights, rewards = [], []
    while True:
        before, seen = state, policy.obs_to_tensor(obs)[0]
        action, state = play(policy, seen, state, is_first, deterministic=deterministic)
        weights.append(policy.read_weights(before, state)[0].cpu().numpy())
        obs, reward, dones, _ = env.step(policy.to_env_action(action.cpu().numpy()))
        state = policy.told(state, th.as_tensor(np.float32(reward), device=policy.device))
        rewards.append(reward[0])
        is_first = th.as_tensor(dones, device=policy.device)
        if dones[0] or len(rewards) == steps:
            return Attention(np.stack(weights), np.array(rewards, np.float32))


def attention_figure(attention: Attention) -> "Figure":
    """
    Draw what was read: a column for every step, a line of it for every row of the memory.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.analysis.attention import Attention, attention_figure
        >>> weights = np.tril(np.ones((5, 5)), -1)[:, None] / 5  # one read in each of five steps
        >>> len(attention_figure(Attention(weights, np.zeros(5))).axes)  # the read, and its scale
        2

    :param attention: of one episode
    """
    steps, heads, rows = attention.weights.shape
    shown = min(steps, rows)
    figure = Figure(figsize=(5.0 * heads, 4.5), layout="constrained")
    axes = figure.subplots(1, heads, squeeze=False)[0]
    for k, ax in enumerate(axes):
        image = ax.imshow(
            attention.weights[:, k, :shown].T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            vmin=0.0,
            vmax=1.0,
            cmap="magma",
        )
        ax.set_xlabel("step")
        again = "; the memory became full" if steps > rows else ""
        ax.set_ylabel(f"row, written after this step{again}")
        ax.set_title(f"read {k + 1}" if heads > 1 else "weight of every row in what is read")
    figure.colorbar(image, ax=axes.tolist())
    return figure
