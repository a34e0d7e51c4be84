"""Parts of the replay that lie on an accelerator."""

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from dreamzoo.common.buffers import SequenceBatch, SequenceReplayBuffer
from dreamzoo.common.record_store import RecordStore


def make_buffer(device: str, space: spaces.Space, **kwargs: Any) -> SequenceReplayBuffer:
    action, latents = spaces.Box(-1, 1, (1,)), {"deter": ((2,), np.float32)}
    buffer = SequenceReplayBuffer(
        40,
        space,
        action,
        device=device,
        n_envs=2,
        batch_length=4,
        latents=latents,
        seed=0,
        **kwargs,
    )
    rng = np.random.default_rng(0)
    space.seed(0)
    for step in range(25):  # 20 fit
        samples = [space.sample() for _ in range(2)]
        obs: Any = samples if not isinstance(space, spaces.Dict) else None
        obs = np.stack(obs) if obs else {k: np.stack([x[k] for x in samples]) for k in samples[0]}
        buffer.stage_latents({"deter": rng.normal(size=(2, 2)).astype(np.float32)})
        done = np.array([step % 7 == 6, False])
        buffer.add(obs, obs, rng.normal(size=(2, 1)), rng.normal(size=2), done, [{}, {}])
    return buffer


def _flat(batch: SequenceBatch) -> Iterator[th.Tensor]:
    for part in batch[:-1]:
        yield from part.values() if isinstance(part, dict) else [part]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (3, 4, 4), np.uint8),
        spaces.Dict({"observation": spaces.Box(-1, 1, (2,)), "item": spaces.Discrete(5)}),
    ],
)
def test_observations_on_the_device_are_those_of_the_host(device: str, space: spaces.Space) -> None:
    buffers = [make_buffer(device, space, observations_on_device=x) for x in (False, True)]
    buffers.append(pickle.loads(pickle.dumps(buffers[1])))
    buffers[2].place()
    for buffer in buffers[1:]:
        kept = buffer.observations
        parts = list(kept.values()) if isinstance(kept, dict) else [kept]
        assert {x.device.type for x in parts} == {device}
        latents = sum(x.nbytes for x in buffer.latents.values())
        on_device = latents + sum(x.nbytes for x in parts)
        assert buffer.check_memory(10**9) == buffer.nbytes() - on_device
    # The same draws, the same windows, bit for bit.
    expected, *others = (list(_flat(b.sample(8))) for b in buffers)
    for found in others:
        assert all(x.dtype == y.dtype for x, y in zip(expected, found, strict=True))
        assert all(th.equal(x.cpu(), y.cpu()) for x, y in zip(expected, found, strict=True))


def test_observations_on_the_device_pass_a_vec_normalize(device: str) -> None:
    env = VecNormalize(make_vec_env("Pendulum-v1"))
    assert isinstance(env.obs_rms, RunningMeanStd)
    env.obs_rms.mean[:] = 5.0
    samples: list[Any] = [
        make_buffer(device, env.observation_space, observations_on_device=x)
        .sample(8, env)
        .observations
        for x in (False, True)
    ]
    assert float(samples[0].mean()) < -3
    assert samples[0].device.type == samples[1].device.type == device
    assert th.equal(samples[0].cpu(), samples[1].cpu())


def test_observations_without_room_on_the_device_are_refused(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamzoo.common.replay_storage.free_memory", lambda _device: 1000)
    space = spaces.Box(0, 255, (3, 64, 64), np.uint8)
    with pytest.raises(MemoryError, match="observations_on_device: 40 observations take"):
        make_buffer(device, space, observations_on_device=True)


def test_latents_without_room_on_the_device_stay_and_it_is_said(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreamzoo.common.replay_storage.free_memory", lambda _device: 600)
    with pytest.warns(UserWarning, match=r"they stay in main memory.*latents_on_host=True"):
        buffer = make_buffer(device, spaces.Box(-1, 1, (3,)))  # 40 of 8 bytes
    assert isinstance(buffer.latents["deter"], np.ndarray)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_buffer(device, spaces.Box(-1, 1, (3,)), latents_on_host=True)


@pytest.mark.skipif(th.cuda.is_available(), reason="needs a device that is not there")
@pytest.mark.parametrize("on_device", [False, True])
def test_a_device_that_is_not_here_is_a_mere_label(on_device: bool) -> None:
    """As in SB3, whose tests set ``buffer.device`` on machines that do not have it."""
    buffer = make_buffer("cpu", spaces.Box(-1, 1, (3,)), observations_on_device=on_device)
    for label in ("cuda", "cuda:1", th.device("cuda", 0)):
        buffer.device = label  # type: ignore[assignment]
        buffer.place()
        assert isinstance(buffer.observations, np.ndarray)
        assert all(isinstance(part, np.ndarray) for part in buffer.latents.values())
    buffer.device = th.device("cpu")
    assert buffer.sample(2).rewards.device.type == "cpu"


@pytest.mark.gpu
def test_what_comes_from_a_gpu_is_there_when_it_is_stored() -> None:
    """A copy to pinned memory that nobody waits for is read before it has arrived."""
    spec = {"deter": ((4096,), np.float32)}
    store = RecordStore(spec, (64, 1), th.device("cpu"))
    busy = th.randn(4096, 4096, device="cuda")
    for step in range(64):
        for _ in range(4):  # the value is computed long after it was asked for
            busy = busy @ busy / 4096
        value = th.full((1, 4096), float(step), device="cuda") + 0.0 * busy[0]
        store.put(np.array([step]), {"deter": value.nan_to_num(float(step))})
    found = store.tensors["deter"][:, 0, 0]
    assert found.tolist() == [float(step) for step in range(64)]
