"""The replay that is measured is full and holds what is said."""

import numpy as np

from dreamzoo.benchmark.speed.replays import make_buffer, measure_replay
from dreamzoo.dreamer_v3 import get_size


def test_a_measured_replay_holds_streams_with_ends_and_latents() -> None:
    buffer = make_buffer(image=8, size="debug", records=2_400, n_envs=2, batch_length=5)
    assert buffer.full
    assert buffer.obs_shape == (3, 8, 8)
    ends = np.flatnonzero(buffer.dones[:, 0])
    assert len(ends) >= 2
    assert np.diff(ends).min() >= 500
    batch = buffer.sample(3)
    assert batch.is_first.shape == (3, 5)
    size = get_size("debug")
    assert buffer.latent_spec["deter"][0] == (size.deter,)
    assert buffer.latent_spec["stoch"][0] == (size.stoch,)
    result = measure_replay(buffer, batch_size=3, seconds=0.05)
    assert min(result.values()) > 0
