"""Steps of dreams that are recorded as a graph, on a GPU and by the stand-in for one."""

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium.vector import AutoresetMode
from torch.utils._pytree import tree_flatten

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamVectorEnv
from tests import replayer
from tests.envs.dreams.conftest import BOX, DISCRETE, MIXED, VECTOR, make_agent

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reward": dict(sample_reward=True, observation="latent", details=False),
    "threshold": dict(termination=0.5, horizon=None),
    "replay": dict(start="replay"),
    "masked": dict(autoreset_mode=AutoresetMode.DISABLED),
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device on which steps are recorded."""
    if request.param == "cpu":
        replayer.install(monkeypatch)
    return request.param


def make(where: str, spaces: tuple[Any, Any] = (VECTOR, BOX)) -> DreamerV3:
    agent = make_agent(*spaces, steps=40, device=where)
    with th.no_grad():
        generator = th.Generator().manual_seed(0)
        for parameter in agent.policy.parameters():
            parameter.add_(0.05 * th.randn(parameter.shape, generator=generator).to(where))
    return agent


def is_recorded(dream: DreamVectorEnv) -> bool:
    return any(graph.is_recorded for graph in dream._recordings._graphs.values())


def unroll(dream: DreamVectorEnv, on: bool, steps: int = 9, there: bool = True) -> list[Any]:
    """Step with the same actions, with or without a graph; return all that was returned."""
    dream.policy.cuda_graph = on
    seen: list[Any] = [dream.reset(seed=3)]
    dream.action_space.seed(0)
    for t in range(steps):
        actions = dream.action_space.sample()
        seen.append(dream.step(th.as_tensor(actions, device=dream.device) if there else actions))
        if not dream.same_step and t == 5:
            rows = th.tensor([True] + [False] * (dream.num_envs - 1))
            seen.append(dream.reset(options={"reset_mask": rows}))
    seen.append(tuple(dream.latent))
    return seen


def equal(left: Any, right: Any) -> bool:
    (one, shape), (two, other) = tree_flatten(left), tree_flatten(right)
    return shape == other and all(th.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("there", [True, False], ids=["device", "host"])
@pytest.mark.parametrize("name", SETTINGS)
def test_steps_are_those_without_a_graph(name: str, there: bool, where: str) -> None:
    agent = make(where)
    dreams = [DreamVectorEnv(agent, 3, **{"horizon": 4, **SETTINGS[name]}) for _ in range(2)]
    recorded, direct = unroll(dreams[0], True, there=there), unroll(dreams[1], False, there=there)
    assert equal(recorded, direct)
    assert [is_recorded(dream) for dream in dreams] == [True, False]
    assert th.equal(*(dream._generator.get_state() for dream in dreams))
    assert equal(unroll(dreams[0], True), unroll(dreams[1], False)), "from the beginning again"


@pytest.mark.parametrize("spaces", [(MIXED, DISCRETE), (MIXED, BOX)], ids=["discrete", "box"])
def test_spaces_of_all_kinds(spaces: tuple[Any, Any], where: str) -> None:
    agent = make(where, spaces)
    assert equal(*(unroll(DreamVectorEnv(agent, 2, horizon=4), on) for on in (True, False)))


def test_what_was_returned_stays_what_it_was(where: str) -> None:
    dream = DreamVectorEnv(make(where), 2, horizon=3)
    dream.reset(seed=0)
    actions = th.as_tensor(dream.action_space.sample(), device=where)
    for _ in range(4):
        dream.step(actions)
    assert is_recorded(dream)
    returned, latent = dream.step(actions), dream.latent
    kept = copy.deepcopy((returned, latent))
    dream.step(actions)
    assert equal((returned, latent), kept)
    returned[1].zero_()  # nor does it matter what is done to it
    other = copy.deepcopy(dream)
    assert isinstance(returned[0], th.Tensor)
    returned[0].zero_()
    assert equal(dream.step(actions), other.step(actions))


def test_a_copy_goes_on_alone(where: str) -> None:
    dream = DreamVectorEnv(make(where), 2, horizon=3)
    unroll(dream, True)
    copied = copy.deepcopy(dream)
    assert not is_recorded(copied)
    actions = [th.as_tensor(dream.action_space.sample(), device=where) for _ in range(6)]
    ahead = [dream.step(action) for action in actions]
    assert equal([copied.step(action) for action in actions], ahead)
    assert is_recorded(copied)


def test_settings_and_weights_that_change_are_seen(where: str) -> None:
    agent = make(where)
    dreams = [DreamVectorEnv(agent, 2, horizon=20) for _ in range(2)]
    assert equal(unroll(dreams[0], True), unroll(dreams[1], False))
    for dream in dreams:
        dream.horizon, dream.details = 2, False
    assert equal(unroll(dreams[0], True), unroll(dreams[1], False))
    before = unroll(dreams[0], True)
    agent.train(2)
    after = unroll(dreams[0], True)
    assert not equal(before, after)
    assert equal(after, unroll(dreams[1], False))
    context = {"observations": np.ones((1, 2, 3), np.float32), "actions": np.ones((1, 1, 2))}
    for dream in dreams:
        dream.reset(options={"context": context})
    assert equal(unroll(dreams[0], True), unroll(dreams[1], False))


def test_actions_that_do_not_fit_are_refused_by_name(where: str) -> None:
    dream = DreamVectorEnv(make(where), 2, horizon=3)
    unroll(dream, True)
    with pytest.raises(ValueError, match="actions have the shape"):
        dream.step(th.zeros(3, 2, device=where))
    with pytest.raises(ValueError, match="actions of the dtype"):
        dream.step(th.zeros(2, 2, device=where, dtype=th.complex64))
    dream.step(th.zeros(2, 2, device=where))


@pytest.mark.gpu
def test_a_recorded_step_waits_for_nothing() -> None:
    dream = DreamVectorEnv(make("cuda"), 2, horizon=3)
    for there in (True, False):
        unroll(dream, True, there=there)
    actions = dream.action_space.sample()
    th.cuda.set_sync_debug_mode("error")
    try:
        for given in (th.as_tensor(actions).pin_memory().to("cuda", non_blocking=True), actions):
            for _ in range(6):
                dream.step(given)
    finally:
        th.cuda.set_sync_debug_mode("default")
