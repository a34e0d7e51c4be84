"""
Everything runs on a device that refuses CPU tensors, as CUDA does.

The device is ``second_device``; tests marked ``gpu`` do the same on a real one.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure

from dreamzoo import AGENTS, DreamerV3, PlaNet
from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.last_good import not_finite
from dreamzoo.envs import DreamVectorEnv
from dreamzoo.testing import CHECKS, Case
from dreamzoo.wrappers import vector
from tests import second_device
from tests.facts import ON_POLICY
from tests.resuming import has_replay
from tests.sb3.conftest import TINY, TINY_POLICY


class Pixels(gym.Env):
    """An image and a vector, five steps an episode."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
                "vector": spaces.Box(-1, 1, (2,), np.float32),
            }
        )
        self.action_space = spaces.Box(-2, 2, (2,), np.float32)
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.age = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.age += 1
        return self.observation_space.sample(), 1.0, self.age == 5, False, {}


def make_agent(device: str, env: str | type[gym.Env] = "CartPole-v1", **kwargs: Any) -> DreamerV3:
    return DreamerV3(
        "MlpPolicy" if isinstance(env, str) else "MultiInputPolicy",
        make_vec_env(env, 2, seed=0),
        device=device,
        seed=0,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        train_ratio=2,
        horizon=3,
        buffer_size=1000,
        **kwargs,
    )


@pytest.mark.parametrize("name", AGENTS)
def test_the_contract_holds_on_the_device(device: str, name: str) -> None:
    CHECKS["devices_are_changed"](Case(AGENTS[name], second_device=device))


@pytest.mark.parametrize("latents", ["gumbel", "vq"])
def test_latents_that_remember_move_with_their_agent(device: str, latents: str) -> None:
    """A temperature, a codebook."""
    policy_kwargs = {**TINY_POLICY["dreamer_v2"], "latents": latents}
    case = Case(AGENTS["dreamer_v2"], second_device=device, policy_kwargs=policy_kwargs)
    CHECKS["devices_are_changed"](case)


@pytest.mark.parametrize("env", ["CartPole-v1", Pixels], ids=["vector", "image"])
def test_learn_save_load_and_act(device: str, env: Any, tmp_path: Path) -> None:
    agent = make_agent(device, env).learn(60)
    assert agent._n_updates > 3
    assert {p.device.type for p in agent.policy.parameters()} == {device}
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    on_cpu = DreamerV3.load(tmp_path / "agent", device="cpu")
    for name, value in agent.policy.state_dict().items():
        th.testing.assert_close(value.cpu(), on_cpu.policy.state_dict()[name])
    again = DreamerV3.load(tmp_path / "agent", make_vec_env(env, 2, seed=0), device=device)
    again.load_replay_buffer(tmp_path / "replay")
    again.learn(20, reset_num_timesteps=False)
    obs = make_vec_env(env, 2, seed=0).reset()
    assert len(again.predict(obs)[0]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("env", ["Pendulum-v1", Pixels], ids=["vector", "image"])
def test_planet_learns_loads_and_plans(device: str, env: Any, tmp_path: Path) -> None:
    agent = PlaNet(
        "MlpPolicy" if isinstance(env, str) else "MultiInputPolicy",
        make_vec_env(env, 2, seed=0),
        device=device,
        seed=0,
        policy_kwargs=TINY_POLICY["planet"],
        **TINY["planet"],
        overshooting_distance=2,
    ).learn(30)
    assert agent._n_updates > 3
    agent.save(tmp_path / "agent")
    again = PlaNet.load(tmp_path / "agent", device=device)
    obs = make_vec_env(env, 2, seed=0).reset()
    one, other = (x.predict(obs, deterministic=True)[0] for x in (agent, again))  # type: ignore[arg-type]
    assert np.array_equal(one, other)
    dream = DreamVectorEnv(agent, 3, horizon=4)
    dream.reset(seed=0)
    actions = th.as_tensor(dream.action_space.sample(), device=device)
    with second_device.counting() as copies:
        dream.step(actions)
    assert not copies


def logged(device: str) -> dict[str, int]:
    """One copy to the host for a round of updates; nobody counts those of a real device."""
    return {"tolist": 1} if device == second_device.NAME else {}


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("env", ["CartPole-v1", Pixels], ids=["vector", "image"])
def test_an_update_does_not_wait_for_cuda(env: Any, cuda_graph: bool) -> None:
    agent = make_agent("cuda", env, cuda_graph=cuda_graph).learn(60)
    agent.train(5, 2)
    assert agent.replay_buffer is not None
    th.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            agent._update(agent.replay_buffer.sample(2))
    finally:
        th.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("env", ["CartPole-v1", Pixels], ids=["vector", "image"])
def test_an_update_copies_nothing_to_the_host_but_what_is_logged(device: str, env: Any) -> None:
    agent = make_agent(device, env).learn(40)
    for updates in (1, 3):
        with second_device.counting() as copies:
            agent.train(updates, 2)
        assert copies == logged(device)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("planet", {}),
        ("dreamer_v1", dict(policy_kwargs=dict(cont=True))),
        ("dreamer_v2", {}),
        *(
            ("dreamer_v2", dict(rho=(0.0, 1.0, 100), policy_kwargs=dict(latents=kind)))
            for kind in ("gaussian", "gumbel", "st_gumbel", "vq")
        ),
        *((name, {}) for name in ON_POLICY),
    ],
)
def test_other_agents_updates_copy_nothing_to_the_host_but_what_is_logged(
    device: str, name: str, kwargs: dict[str, Any]
) -> None:
    policy_kwargs = {**TINY_POLICY[name], **kwargs.get("policy_kwargs", {})}
    env = make_vec_env("Pendulum-v1", 2, seed=0)
    settings = {**TINY[name], **kwargs, "policy_kwargs": policy_kwargs}
    agent: Any = AGENTS[name]("MlpPolicy", env, device=device, **settings)
    agent.learn(16)
    assert agent._n_updates > 0
    sizes = (3, 2) if has_replay(agent) else ()
    with second_device.counting() as copies:
        agent.train(*sizes)
    assert copies == logged(device)


@pytest.mark.parametrize("name", ON_POLICY)
def test_windows_are_learned_from_alike_on_the_second_device(name: str) -> None:
    """With images, and ends of episodes in the middle of them."""
    weights = []
    for where in ("cpu", second_device.NAME):
        with pytest.MonkeyPatch.context() as patch:
            second_device.install(patch)
            env = make_vec_env(Pixels, 2, seed=0)
            for i, seen in enumerate(env.get_attr("observation_space")):
                seen.seed(i)
            settings = {**TINY[name], "n_steps": 7, "policy_kwargs": TINY_POLICY[name]}
            agent: Any = AGENTS[name]("MultiInputPolicy", env, device=where, seed=0, **settings)
            agent.learn(28)
        assert agent._n_updates == 2
        weights.append([p.detach().cpu() for p in agent.policy.trained_parameters()])
    for one, other in zip(*weights, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_after_the_round(device: str, tmp_path: Path) -> None:
    """Nobody waits for the device to look at a loss; until someone does, nothing is learned."""
    agent = make_agent(device).learn(40)
    agent.set_logger(configure(str(tmp_path), []))
    assert agent.replay_buffer is not None
    agent.replay_buffer.rewards[:] = np.nan
    with pytest.raises(FloatingPointError, match="reward = nan"):
        agent.train(3, 2)
    (path,) = tmp_path.glob("last_good_*.zip")
    saved = DreamerV3.load(path, device="cpu").policy.state_dict()
    assert all(bool(value.isfinite().all()) for value in saved.values())


def test_latents_live_on_the_device_and_travel(device: str, tmp_path: Path) -> None:
    agent = make_agent(device).learn(60)
    assert agent.replay_buffer is not None
    kept = agent.replay_buffer.latents["deter"]
    assert kept.device.type == device
    assert bool((kept.cpu() != 0).any())
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    for place in ("cpu", device):
        other = DreamerV3.load(tmp_path / "agent", device=place)
        other.load_replay_buffer(tmp_path / "replay")
        assert other.replay_buffer is not None
        latents = th.as_tensor(other.replay_buffer.latents["deter"])
        assert latents.device.type == place
        assert th.equal(latents.cpu(), kept.cpu())
    on_host = SequenceReplayBuffer(
        100,
        agent.observation_space,
        agent.action_space,
        device=device,
        latents=agent.latent_spec(),
        latents_on_host=True,
    )
    assert isinstance(on_host.latents["deter"], np.ndarray)


def test_an_agent_learns_from_observations_on_the_device(device: str) -> None:
    """The same training as with observations on the host, and nothing copied back."""
    weights = []
    for on_device in (False, True):
        agent = make_agent(device, replay_buffer_kwargs=dict(observations_on_device=on_device))
        agent.learn(40)
        with second_device.counting() as copies:
            agent.train(2, 2)
        assert copies == logged(device)
        assert agent._n_updates >= 4
        weights.append([p.detach().cpu() for p in agent.policy.trained_parameters()])
    for one, other in zip(*weights, strict=True):
        th.testing.assert_close(one, other)


def test_latents_on_the_device_take_no_memory_of_the_host(device: str) -> None:
    agent = make_agent(device)
    assert agent.replay_buffer is not None
    latents = sum(x.nbytes for x in agent.replay_buffer.latents.values())
    full = agent.replay_buffer.nbytes()
    assert agent.replay_buffer.check_memory(10**9) == full - latents


def test_cells_of_the_second_device_are_torchs() -> None:
    gru, lstm = th.nn.GRUCell(3, 4), th.nn.LSTMCell(3, 4)
    x, h, c = th.randn(5, 3), th.randn(5, 4), th.randn(5, 4)
    expected = gru(x, h), lstm(x, (h, c))
    with pytest.MonkeyPatch.context() as patch:
        second_device.install(patch)
        th.testing.assert_close((gru(x, h), lstm(x, (h, c))), expected)


def test_the_second_device_computes_what_the_cpu_does() -> None:
    """Same seed, same numbers: the plain kernels against those for a CPU, over 5 updates."""
    losses = []
    for name in ("cpu", second_device.NAME):
        with pytest.MonkeyPatch.context() as patch:
            second_device.install(patch)
            agent = make_agent(name).learn(60)
        losses.append([p.detach().cpu() for p in agent.policy.trained_parameters()])
    for one, other in zip(*losses, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("env", ["CartPole-v1", Pixels], ids=["vector", "image"])
@pytest.mark.parametrize("start", ["initial", "replay"])
def test_dreams_reset_step_and_draw(device: str, env: Any, start: Any) -> None:
    agent = make_agent(device, env).learn(40)
    dream = DreamVectorEnv(agent, 3, horizon=4, start=start, render_mode="rgb_array")
    dream.reset(seed=0)
    for _ in range(6):
        obs, reward, terminated, truncated, info = dream.step(dream.action_space.sample())
        parts = [*(obs.values() if isinstance(obs, dict) else [obs]), reward, terminated, truncated]
        assert {x.device.type for x in [*parts, *info["final_info"].values()]} == {device}
    dream.reset(options={"reset_mask": th.tensor([True, False, True])})
    copied, action = copy.deepcopy(dream), dream.action_space.sample()
    assert th.equal(*(one.step(action)[4]["latent"].cpu() for one in (dream, copied)))
    frames = dream.render()
    assert frames is not None
    assert len(frames) == 3
    PPO(
        "MlpPolicy" if isinstance(env, str) else "MultiInputPolicy",
        agent.dream_env(2),
        n_steps=4,
        batch_size=8,
        n_epochs=1,
        device="cpu",
    ).learn(8)


WRAPPERS: dict[str, Callable[[VectorEnv], VectorEnv]] = {
    "RepeatAction": lambda env: vector.RepeatAction(env, 2),
    "SymlogObservation": vector.SymlogObservation,
    "SymlogReward": vector.SymlogReward,
    "TanhReward": vector.TanhReward,
    "EpisodeDiscount": lambda env: vector.EpisodeDiscount(env, 0.9, add_to_observation=True),
    "NormalizeAction": vector.NormalizeAction,
    "OneHotAction": vector.OneHotAction,
    "PreviousActionReward": vector.PreviousActionReward,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_stay_on_the_device_and_copy_nothing_to_the_host(device: str, name: str) -> None:
    agent = make_agent(device, Pixels if name == "NormalizeAction" else "CartPole-v1").learn(20)
    disabled = AutoresetMode.DISABLED if name == "RepeatAction" else AutoresetMode.SAME_STEP
    env = WRAPPERS[name](DreamVectorEnv(agent, 3, horizon=4, autoreset_mode=disabled))
    env.reset(seed=0)
    actions = th.as_tensor(env.action_space.sample(), device=device)
    env.step(actions)
    with second_device.counting() as copies:
        for _ in range(6):
            obs, reward, terminated, truncated, _ = env.step(actions)
    assert not copies
    parts = list(obs.values()) if isinstance(obs, dict) else [obs]
    assert {x.device.type for x in [*parts, reward, terminated, truncated]} == {device}


def test_a_cpu_tensor_that_slips_in_is_found() -> None:
    """The tests above can fail: a buffer left behind, and an action made on the host."""
    with pytest.MonkeyPatch.context() as patch:
        second_device.install(patch)
        agent = make_agent(second_device.NAME).learn(40)
        head = agent.policy.world_model.reward.twohot
        head.outer = head.outer.cpu()
        with pytest.raises(RuntimeError, match="same device"):
            agent.train(1, 2)


def test_a_dream_step_copies_nothing_to_the_host(device: str) -> None:
    if device != second_device.NAME:
        pytest.skip("CUDA has a mode of its own for this")
    agent = make_agent(device).learn(40)
    dream = DreamVectorEnv(agent, 3, horizon=4)
    dream.reset(seed=0)
    actions = th.zeros(3, dtype=th.long).to(device)
    with second_device.counting() as copies:
        for _ in range(6):
            dream.step(actions)
    assert not copies
    with second_device.counting() as copies:
        float(dream.step(actions)[1].sum())
    assert sum(copies.values()) == 1  # what a copy looks like


@pytest.mark.gpu
def test_a_dream_step_does_not_wait_for_cuda() -> None:
    dream = DreamVectorEnv(make_agent("cuda").learn(40), 3, horizon=4)
    dream.reset(seed=0)
    actions = th.zeros(3, dtype=th.long, device="cuda")
    dream.step(actions)  # constants are copied to the device the first time
    th.cuda.set_sync_debug_mode("error")
    try:
        dream.step(actions)
    finally:
        th.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", [DreamerV3, PlaNet])
def test_what_is_saved_of_a_loss_that_is_not_finite_is_good(
    device: str, kind: Any, tmp_path: Path
) -> None:
    """Updates do not look at the loss there: several have been made before it is noticed."""
    name = {DreamerV3: "dreamer_v3", PlaNet: "planet"}[kind]
    settings = {**TINY[name], "learning_starts": 11, "policy_kwargs": TINY_POLICY[name]}
    settings["buffer_size"] = 1000
    agent = kind("MlpPolicy", "Pendulum-v1", device=device, seed=0, **settings).learn(30)
    agent.logger.dir = str(tmp_path)
    agent.replay_buffer.rewards[:] = np.nan
    with pytest.raises(FloatingPointError, match=r"reward = nan.*are saved in .*last_good_30"):
        agent.train(3)
    saved = kind.load(tmp_path / "last_good_30_steps", device="cpu")
    assert not not_finite(saved.get_parameters())
    if agent.replay_buffer.latent_spec:
        latents = agent.replay_buffer.latents["deter"]
        assert bool(th.isfinite(latents).all())
    next(agent.policy.parameters()).data.fill_(np.inf)
    (tmp_path / "last_good_30_steps.zip").unlink()
    with pytest.raises(FloatingPointError, match=r"destroyed, too .*not saved: go back"):
        agent.train(1)
    assert not list(tmp_path.iterdir())


def test_latents_of_a_destroyed_model_do_not_reach_the_replay(device: str) -> None:
    agent = make_agent(device).learn(60)
    for parameter in agent.policy.parameters():
        parameter.data.fill_(np.nan)
    with pytest.raises(FloatingPointError, match="destroyed, too"):
        agent.train(1)
    assert agent.replay_buffer is not None
    assert bool(th.isfinite(agent.replay_buffer.latents["deter"]).all())
