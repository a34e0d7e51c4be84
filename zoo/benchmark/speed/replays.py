"""How fast the replay gives windows."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.dreamer_v3 import get_size


def fill(buffer: SequenceReplayBuffer, records: int) -> None:
    """Store random records of every environment, one episode end every 500."""
    rng = np.random.default_rng(0)
    n = buffer.n_envs
    obs = rng.integers(0, 256, (n, *buffer.obs_shape), dtype=np.uint8)
    latents = {k: rng.random((n, *s)).astype(d) for k, (s, d) in buffer.latent_spec.items()}
    for step in range(records // n):
        done = np.full(n, step % 500 == 499)
        buffer.stage_latents(latents)
        buffer.add(obs, obs, np.zeros((n, 1)), np.zeros(n), done, [{}] * n)


def cpu_rate(function: Callable[[], object], seconds: float) -> float:
    """Count calls per second of CPU time."""
    function()
    calls, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        function()
        calls += 1
    return calls / (time.process_time() - start)


def make_buffer(
    image: int, size: str, records: int, n_envs: int, batch_length: int
) -> SequenceReplayBuffer:
    """
    Make a full replay of images with latents.

    :param image: height and width of the images
    :param size: of the model whose latents are stored
    :param records: of all environments together
    :param n_envs: environments
    :param batch_length: steps of a window
    """
    latent = get_size(size)
    buffer = SequenceReplayBuffer(
        records,
        spaces.Box(0, 255, (3, image, image), np.uint8),
        spaces.Discrete(6),
        device="cpu",
        n_envs=n_envs,
        batch_length=batch_length,
        latents={"deter": ((latent.deter,), np.float32), "stoch": ((latent.stoch,), np.uint8)},
        seed=0,
    )
    fill(buffer, records)
    return buffer


def measure_replay(buffer: SequenceReplayBuffer, batch_size: int, seconds: float) -> dict[str, Any]:
    """
    Measure windows per second of CPU time, beside a plain copy of the same bytes.

    :param buffer: full
    :param batch_size: windows of a batch
    :param seconds: how long to look
    """
    rate = cpu_rate(lambda: buffer.sample(batch_size), seconds) * batch_size
    batch = buffer.sample(batch_size)
    assert isinstance(batch.observations, th.Tensor)
    source = batch.observations.numpy()
    target = np.empty_like(source)
    copy = cpu_rate(lambda: np.copyto(target, source), 1.0) * batch_size
    return {
        "windows_per_cpu_second": round(rate),
        "plain_copy_windows_per_cpu_second": round(copy),
    }
