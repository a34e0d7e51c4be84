"""
Updates that are recorded as one graph give the numbers of those that run step by step.

Without a GPU a stand-in repeats what torch computes (tests/replayer.py).
"""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.torch_layers import FlattenExtractor

from dreamzoo import AGENTS
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.training import MeanMetrics
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from tests import replayer
from tests.facts import HAS_REPLAY
from tests.sb3.conftest import TINY, TINY_POLICY
from tests.test_second_device import Pixels


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device on which updates are recorded."""
    if request.param == "cpu":
        replayer.install(monkeypatch)
    return request.param


def _collected(name: str, where: str, images: bool = False, **kwargs: Any) -> WorldModelAlgorithm:
    """Make an agent whose replay is filled, without updates."""
    settings = {**TINY[name], "learning_starts": 10**6, "seed": 0, "device": where}
    settings |= {"buffer_size": 100}
    policy_kwargs = {**TINY_POLICY[name], **kwargs.pop("policy_kwargs", {})}
    env: Any = Pixels() if images else "Pendulum-v1"
    if images:
        env.observation_space.seed(0)
    policy = "MultiInputPolicy" if images else "MlpPolicy"
    agent: Any = AGENTS[name](policy, env, policy_kwargs=policy_kwargs, **{**settings, **kwargs})
    return agent.learn(30)


def _batch(agent: WorldModelAlgorithm) -> SequenceBatch:
    assert agent.replay_buffer is not None
    return agent.replay_buffer.sample(4, online=agent.online_queue)


def _is_recorded(agent: WorldModelAlgorithm) -> bool:
    assert agent._recorded is not None
    return agent._recorded.is_recorded


def _same(left: WorldModelAlgorithm, right: WorldModelAlgorithm) -> None:
    for name, value in left.policy.state_dict().items():
        assert th.equal(value, right.policy.state_dict()[name]), name
    assert left._generator is not None
    assert right._generator is not None
    assert th.equal(left._generator.get_state(), right._generator.get_state())


@pytest.mark.parametrize("images", [False, True], ids=["vector", "image"])
@pytest.mark.parametrize("name", HAS_REPLAY)
def test_numbers_are_those_of_single_steps(name: str, images: bool, where: str) -> None:
    if images and name == "planet":
        pytest.skip("its tiny networks read no images of this size")
    agents = [_collected(name, where, images, cuda_graph=on) for on in (True, False)]
    for n in range(7):
        recorded, direct = (agent._update(_batch(agent)) for agent in agents)
        assert _is_recorded(agents[0]) == (n >= 3)
        assert recorded.keys() == direct.keys()
        for key, value in recorded.items():
            assert th.equal(value, direct[key]), key
    _same(*agents)
    for agent in agents:
        agent.learning_rate = 1e-2
        agent._setup_lr_schedule()
        agent.train(5)  # of another shape, with another rate
    assert _is_recorded(agents[0])
    _same(*agents)


@pytest.mark.parametrize("name", HAS_REPLAY)
def test_acting_sees_what_recorded_updates_have_learned(name: str, where: str) -> None:
    agents = [_collected(name, where, cuda_graph=on) for on in (True, False)]
    for agent in agents:
        agent.train(5)
    obs = agents[0].observation_space.sample()
    acted: Any = [agent.predict(obs, deterministic=True) for agent in agents]
    for left, right in zip(*((action, *memory) for action, memory in acted), strict=True):
        assert (left == right).all()


@pytest.mark.parametrize("name", HAS_REPLAY)
def test_settings_that_change_are_not_taken_for_fixed(name: str, where: str) -> None:
    agents = [_collected(name, where, cuda_graph=on) for on in (True, False)]
    for agent in agents:
        agent.train(5)
        agent.free_nats = 0.25  # type: ignore[attr-defined]
        agent.policy.optimizer.param_groups[0]["eps"] = 1e-6
        agent.train(1)
    assert not _is_recorded(agents[0])
    for agent in agents:
        agent.train(4)
    assert _is_recorded(agents[0])
    _same(*agents)


def test_settings_that_move_do_so_in_a_recording(where: str) -> None:
    """And the slow critic moves between recorded updates."""
    lines: Any = dict(rho=(1.0, 0.0, 190), ent_coef=(3e-3, 3e-1, 180), target_update_interval=2)
    agents = [_collected("dreamer_v2", where, cuda_graph=on, **lines) for on in (True, False)]
    moved = []
    for _ in range(4):
        for agent in agents:
            agent.num_timesteps += 10
            agent.train(3)
        moved.append((float(agents[0]._now("rho")), float(agents[0]._now("ent_coef"))))
    assert _is_recorded(agents[0])
    _same(*agents)
    assert len(set(moved)) == 4  # in every call of train
    fixed: Any = _collected("dreamer_v2", where, **{**lines, "rho": 0.5, "ent_coef": 3e-3})
    fixed.train(12)
    one, other = ([*x.policy.actor.parameters()] for x in (agents[0], fixed))  # type: ignore[union-attr]
    assert not all(th.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
def test_a_line_that_leaves_the_dynamics_out_at_one_end_is_recorded_anew_there(
    ends: tuple[float, float], where: str
) -> None:
    lines: Any = dict(rho=(*ends, 70))
    agents = [_collected("dreamer_v2", where, cuda_graph=on, **lines) for on in (True, False)]
    recorded: list[Any] = []
    for steps in (0, 10, 10) if ends[0] == 1.0 else (65, 5, 10):
        for agent in agents:
            agent.num_timesteps = steps + (agent.num_timesteps if recorded else 0)
            agent.train(5)
        recorded.append(agents[0]._recorded)
        assert _is_recorded(agents[0])
    assert recorded[0] is not recorded[1]
    assert recorded[1] is recorded[2]
    _same(*agents)


@pytest.mark.parametrize(
    ("kind", "given"),
    [("gumbel", {"temperature": (1.0, 0.5, 190)}), ("vq", {"decay": 0.5, "revive": 0.9})],
)
def test_latents_move_in_a_recording(kind: str, given: dict[str, Any], where: str) -> None:
    """A temperature between calls of train; a codebook, codes that begin anew, in each."""
    kwargs: Any = dict(policy_kwargs=dict(latents=kind, latents_kwargs=given))
    agents: Any = [_collected("dreamer_v2", where, cuda_graph=on, **kwargs) for on in (True, False)]
    moved = []
    for _ in range(4):
        for agent in agents:
            agent.num_timesteps += 10
            agent.train(3)
        moved.append({k: x.clone() for k, x in agents[0].policy.latents.state_dict().items()})
    assert _is_recorded(agents[0])
    _same(*agents)
    for before, after in pairwise(moved):
        assert not any(th.equal(before[name], after[name]) for name in before)
    if kind == "vq":
        assert agents[0].logger.name_to_value["train/codebook_revived"] > 0.0


@pytest.mark.parametrize("name", HAS_REPLAY)
def test_parameters_and_averages_that_are_loaded_are_gone_on_from(name: str, where: str) -> None:
    agents = [_collected(name, where, cuda_graph=on) for on in (True, False)]
    for agent in agents:
        agent.train(5)
    kept = copy.deepcopy(agents[1].get_parameters())
    for agent in agents:
        agent.train(3)
        agent.set_parameters(copy.deepcopy(kept), device=where)  # type: ignore[arg-type]
        agent.train(5)
    assert _is_recorded(agents[0])
    _same(*agents)
    for agent in agents:
        agent.policy.optimizer.zero_grad()
        for parameter in agent.policy.parameters():
            parameter.data = parameter.data * 0.5  # elsewhere in memory
        agent.train(5)
    _same(*agents)


def test_another_optimizer_steps_outside(where: str) -> None:
    kwargs: Any = dict(policy_kwargs=dict(optimizer_class=th.optim.Adam))
    agents = [_collected("dreamer_v3", where, cuda_graph=on, **kwargs) for on in (True, False)]
    for agent in agents:
        agent.train(6)
    assert _is_recorded(agents[0])
    _same(*agents)


@pytest.mark.gpu
@pytest.mark.parametrize("images", [False, True], ids=["vector", "image"])
def test_the_host_waits_for_nothing_between_two_updates(images: bool) -> None:
    agent = _collected("dreamer_v3", "cuda", images)
    agent.train(6)
    assert _is_recorded(agent)
    buffer, means = agent.replay_buffer, MeanMetrics()
    assert buffer is not None
    th.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            windows = buffer.sample(agent.batch_size, online=agent.online_queue)
            means.add(agent._update(windows))
    finally:
        th.cuda.set_sync_debug_mode("default")
    assert _is_recorded(agent)


class Asking(FlattenExtractor):
    """A features extractor that looks at values, as no recording can."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return super().forward(observations) * (2.0 if observations.max().item() > 1e6 else 1.0)


def test_a_features_extractor_that_waits_is_named_and_training_goes_on(where: str) -> None:
    kwargs = dict(features_extractor_class=Asking)
    agents = [
        _collected("dreamer_v3", where, cuda_graph=on, policy_kwargs=kwargs) for on in (True, False)
    ]
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph"):
        agents[0].train(6)
    agents[1].train(6)
    assert not _is_recorded(agents[0])
    _same(*agents)


def test_the_switch_is_a_setting() -> None:
    with pytest.raises(ValueError, match="cuda_graph"):
        AGENTS["dreamer_v3"]("MlpPolicy", "CartPole-v1", cuda_graph="yes")  # type: ignore[call-arg]
