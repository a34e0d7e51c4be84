"""
Acting that is recorded as a graph gives the numbers of acting step by step.

Without a GPU a stand-in repeats what torch computes (tests/replayer.py).
"""

import copy
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.noise import NormalActionNoise

from dreamzoo import AGENTS, DreamerV3
from dreamzoo.common.policies.memory_layout import rows_of
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.nn.state import leaves
from dreamzoo.planning import CEM
from dreamzoo.planning.planner import CEMPlanner
from tests import replayer, second_device
from tests.facts import HAS_REPLAY, WITH_MEMORY
from tests.sb3.conftest import TINY, TINY_POLICY
from tests.sb3.stored import numbers
from tests.test_second_device import Pixels

CASES = [
    (name, images)
    for name in WITH_MEMORY
    for images in (False, True)
    if (name, images) != ("planet", True)
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device on which acting is recorded."""
    if request.param == "cpu":
        replayer.install(monkeypatch)
    return request.param


def make(
    name: str, where: str, images: bool = False, env: Any = "Pendulum-v1", **kwargs: Any
) -> Any:
    settings = {**TINY[name], "seed": 0, "device": where, "policy_kwargs": TINY_POLICY[name]}
    settings |= {"buffer_size": 200} if name in HAS_REPLAY else {}
    env = Pixels() if images else gym.make(env)
    env.observation_space.seed(0)
    policy = "MultiInputPolicy" if images else "MlpPolicy"
    agent: Any = AGENTS[name](policy, env, **{**settings, **kwargs})
    with th.no_grad():  # actions that depend on what is seen and remembered
        generator = th.Generator().manual_seed(0)
        for parameter in agent.policy.parameters():
            parameter += 0.05 * th.randn(parameter.shape, generator=generator).to(where)
    return agent


def observations(agent: Any, steps: int, n: int = 2) -> list[Any]:
    """Draw observations of n environments."""
    space = agent.observation_space
    space.seed(0)
    rows = [[space.sample() for _ in range(n)] for _ in range(steps)]
    if isinstance(rows[0][0], dict):
        return [{key: np.stack([x[key] for x in row]) for key in row[0]} for row in rows]
    return [np.stack(row) for row in rows]


def walk(actor: Any, seen: list[Any], deterministic: bool = False) -> list[tuple[np.ndarray, ...]]:
    """Act in some steps, one of which begins an episode of one row."""
    th.manual_seed(3)
    state, results = None, []
    for t, obs in enumerate(seen):
        start = np.array([t == 5, False])
        action, state = actor.predict(obs, state, start, deterministic)
        results.append((action, *state))
    return results


def equal(left: list[tuple[np.ndarray, ...]], right: list[tuple[np.ndarray, ...]]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(np.array_equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))


def n_recorded(policy: WorldModelPolicy) -> int:
    return sum(graph.is_recorded for graph in policy.recorded._recordings._graphs.values())


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("name", "images"), CASES)
def test_predictions_are_those_of_single_steps(
    name: str, images: bool, deterministic: bool, where: str
) -> None:
    agents = [make(name, where, images, cuda_graph=on) for on in (True, False)]
    seen = observations(agents[0], 8)
    recorded, direct = (walk(agent, seen, deterministic) for agent in agents)
    assert equal(recorded, direct)
    assert [n_recorded(agent.policy) for agent in agents] == [1, 0]
    assert not np.array_equal(recorded[6][1], recorded[7][1])  # of the memory; plans may agree
    one = {k: v[0] for k, v in seen[0].items()} if images else seen[0][0]
    alone = [agent.predict(one, deterministic=True)[0] for agent in agents]
    assert np.array_equal(*alone)
    assert alone[0].shape == agents[0].action_space.shape


@pytest.mark.parametrize("name", WITH_MEMORY)
def test_predictions_are_those_of_tensors(name: str, where: str) -> None:
    """What travels in one piece arrives as it was."""
    agent = make(name, where)
    (obs,), policy = observations(agent, 1), agent.policy
    action, state = agent.predict(obs, deterministic=True)
    first = th.ones(2, dtype=th.bool, device=where)
    there = th.as_tensor(obs, device=where)
    chosen, after = policy.act(there, policy.initial_state(2), first, deterministic=True)
    assert np.array_equal(action, policy.to_env_action(chosen.cpu().numpy()))
    for part, other in zip(state, leaves(after), strict=True):
        assert np.array_equal(part, rows_of(other).cpu().numpy())


@pytest.mark.parametrize(("name", "images"), CASES)
def test_collecting_is_that_of_single_steps(name: str, images: bool, where: str) -> None:
    settings = {"learning_starts": 10} if name in HAS_REPLAY else {"n_steps": 10}
    agents = [
        make(name, where, images, cuda_graph=on, **settings).learn(40) for on in (True, False)
    ]
    assert n_recorded(agents[0].policy) >= 1
    for left, right in zip(*map(numbers, agents), strict=True):
        assert np.array_equal(left, right)
    assert np.array_equal(*(agent._generator.get_state() for agent in agents))
    for left, right in zip(*(agent.policy.parameters() for agent in agents), strict=True):
        assert th.equal(left, right)


@pytest.mark.parametrize("name", ["dreamer_v1", "dreamer_v2"])
def test_discrete_actions_are_explored_as_in_single_steps(name: str, where: str) -> None:
    """What is random of Dreamer V1's becomes less: every probability is recorded once."""
    settings: dict[str, Any] = dict(env="CartPole-v1", learning_starts=10)
    if name == "dreamer_v1":
        settings |= dict(exploration_updates=120)
    agents = [make(name, where, cuda_graph=on, **settings).learn(60) for on in (True, False)]
    assert n_recorded(agents[0].policy) >= 2
    assert np.array_equal(*(agent.replay_buffer.actions[:60] for agent in agents))
    assert np.array_equal(*(agent._generator.get_state() for agent in agents))


def test_what_is_remembered_stays_what_it_was(where: str) -> None:
    agent = make("dreamer_v3", where, learning_starts=10**6).learn(10)
    assert n_recorded(agent.policy) == 1
    memory = agent._last_state
    kept = copy.deepcopy(memory)
    agent.learn(2, reset_num_timesteps=False)
    for part, before in zip(
        (*memory.latent, memory.prev_action), (*kept.latent, kept.prev_action), strict=True
    ):
        assert th.equal(part, before)


def test_noise_of_the_host_is_new_in_every_step(where: str) -> None:
    noise = NormalActionNoise(np.zeros(1), np.ones(1))
    agent = make("dreamer_v3", where, learning_starts=10**6, action_noise=noise)
    np.random.seed(0)
    agent.learn(20)
    assert n_recorded(agent.policy) == 0
    actions = agent.replay_buffer.actions[:20].flatten()
    inside = actions[np.abs(actions) < 1.0]  # the others are clipped
    assert len(np.unique(inside)) == len(inside) > 10


@pytest.mark.parametrize("deterministic", [False, True])
def test_plans_in_another_agents_model(deterministic: bool, where: str) -> None:
    agents = [make("dreamer_v3", where, cuda_graph=on) for on in (True, False)]
    planners = [CEMPlanner(agent, CEM(3, 2, 8, 2)) for agent in agents]
    seen = observations(agents[0], 7)
    recorded, direct = (walk(planner, seen, deterministic) for planner in planners)
    assert equal(recorded, direct)
    assert n_recorded(agents[0].policy) == 1
    planners[0].cem = planners[1].cem = CEM(3, 1, 8, 1)
    assert equal(*(walk(planner, seen, deterministic) for planner in planners))
    assert n_recorded(agents[0].policy) == 2


def test_a_users_way_to_choose_is_called_every_time(where: str) -> None:
    agent = make("dreamer_v3", where)
    calls: list[int] = []

    def choose(latent: Any, generator: Any, deterministic: bool) -> th.Tensor:
        calls.append(1)
        return th.zeros(len(latent.deter), 1, device=where)

    for obs in observations(agent, 6):
        agent.policy.predict(obs, choose=choose)
    assert len(calls) == 6


def test_copies_and_files_act_on_their_own(where: str, tmp_path: Path) -> None:
    agent = make("dreamer_v3", where)
    seen = observations(agent, 6)
    expected = walk(agent, seen)
    assert n_recorded(agent.policy) == 1
    copied = copy.deepcopy(agent.policy)
    agent.save(tmp_path / "agent")
    loaded = DreamerV3.load(tmp_path / "agent", device=where)
    policy = type(agent.policy).load
    agent.policy.save(tmp_path / "policy")
    for other in (copied, loaded, policy(tmp_path / "policy", device=where)):
        assert equal(walk(other, seen), expected)
    with th.no_grad():
        next(copied.actor.parameters()).mul_(2.0)
    assert not equal(walk(copied, seen), expected)
    assert equal(walk(agent, seen), expected)


def test_weights_that_change_are_read(where: str) -> None:
    agents = [make("dreamer_v3", where, cuda_graph=on) for on in (True, False)]
    seen, before = observations(agents[0], 6), None
    for change in range(6):
        for agent in agents:
            policy = agent.policy
            if change == 1:
                with th.no_grad():
                    policy.world_model.dynamics.post_logits.weight.mul_(-1.0)
            if change == 2:
                agent.set_parameters(
                    {"policy": {k: v / 2 for k, v in policy.state_dict().items()}},
                    exact_match=False,
                )
            if change == 3:
                for parameter in policy.parameters():
                    parameter.data = parameter.data * 1.5
            if change == 4:
                policy.actor = copy.deepcopy(policy.actor)
                policy.actor.mean.weight.data.mul_(3.0)
            if change == 5:
                policy.to(th.float16).to(th.float32)
        results = [walk(agent, seen) for agent in agents]
        assert equal(*results)
        assert before is None or not equal(before, results[0])
        assert n_recorded(agents[0].policy) == 1
        before = results[0]


def test_threads_do_not_read_each_others_results(where: str) -> None:
    agent = make("dreamer_v3", where)
    seen = observations(agent, 6)
    walk(agent, seen, deterministic=True)
    expected = [agent.predict(obs, deterministic=True)[0] for obs in seen]
    results: dict[int, list[bool]] = {}

    def act(i: int) -> None:
        results[i] = [
            np.array_equal(agent.predict(obs, deterministic=True)[0], action)
            for obs, action in zip(seen, expected, strict=True)
            for _ in range(5)
        ]

    threads = [threading.Thread(target=act, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(all(results[i]) for i in range(3))


def test_gradients_and_inference_mode_change_nothing(where: str) -> None:
    agent = make("dreamer_v3", where)
    (obs,) = observations(agent, 1)
    actions = [agent.predict(obs, deterministic=True)[0] for _ in range(6)]
    with th.inference_mode():
        actions.append(agent.predict(obs, deterministic=True)[0])
    with th.no_grad():
        actions.append(agent.predict(obs, deterministic=True)[0])
    assert all(np.array_equal(actions[0], action) for action in actions)
    assert n_recorded(agent.policy) == 1


def test_acting_on_the_second_device_copies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    second_device.install(monkeypatch)
    for name in WITH_MEMORY:
        settings: Any = {"learning_starts": 10**6} if name in HAS_REPLAY else {"n_steps": 5}
        agent = make(name, second_device.NAME, **settings).learn(5)
        seen = observations(agent, 3)
        _, state = agent.predict(seen[0])
        with second_device.counting() as copies:
            agent.predict(seen[1], state)
        assert sum(copies.values()) == 1
        with second_device.counting() as copies:
            if name in HAS_REPLAY:
                agent._sample_action(0, None, 1)
            else:
                agent._act(None, agent.policy.choice())
        assert sum(copies.values()) == 1


@pytest.mark.gpu
def test_only_the_result_is_waited_for() -> None:
    agent = make("dreamer_v3", "cuda")
    (obs,) = observations(agent, 1)
    state: Any = None
    for _ in range(6):
        _, state = agent.predict(obs, state)
    step = agent.policy.recorded._step
    manner = next(iter(agent.policy.recorded._recordings._graphs))[2]
    th.cuda.set_sync_debug_mode("error")
    try:
        named = {"observation": obs}
        step(agent.policy, named, state, np.zeros(2, bool), (), manner)
    finally:
        th.cuda.set_sync_debug_mode("default")
