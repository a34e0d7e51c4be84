"""One switch between what is written for speed and the equations that it equals."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import AGENTS
from dreamzoo.nn.fast import kernels, tapes, threads, unroll
from dreamzoo.nn.fast.switch import Form, in_use, use
from tests.facts import HAS_REPLAY, WITH_MEMORY
from tests.resuming import has_replay
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv

FAST = Path(kernels.__file__).parent
TESTS = Path(__file__).parents[2]

#: Where each module's fast form is compared with its plain one, under ``tests/``.
COMPARED = {
    "compiled": "nn/fast/test_kernels.py",
    "dense": "nn/fast/test_elus.py",
    "elus": "nn/fast/test_elus.py",
    "gru_cells": "nn/fast/test_elus.py",
    "images": "nn/fast/test_triton_images.py",
    "kernels": "nn/fast/test_kernels.py",
    "memory": "nn/fast/test_memory.py",
    "pieces": "nn/fast/test_switch.py",
    "one_hots": "nn/fast/test_one_hots.py",
    "products": "nn/fast/test_products.py",
    "scalars": "nn/fast/test_scalars.py",
    "streams": "nn/fast/test_streams.py",
    "tapes": "dreamer_v3/test_plain_form.py",
    "threads": "nn/fast/test_threads.py",
    "unroll": "nn/rssm/test_block.py",
    "triton.actions": "nn/fast/test_triton_actions.py",
    "triton.categoricals": "nn/fast/test_triton_kernels.py",
    "triton.filter": "nn/fast/test_filter_triton.py",
    "triton.filter_backward": "nn/fast/test_filter_triton.py",
    "triton.filter_kernels": "nn/fast/test_filter_triton.py",
    "triton.filter_stages": "nn/fast/test_filter_triton.py",
    "triton.filter_stages_backward": "nn/fast/test_filter_triton.py",
    "triton.filter_kernels_backward": "nn/fast/test_filter_triton.py",
    "triton.images": "nn/fast/test_triton_images.py",
    "triton.kernels": "nn/fast/test_triton_kernels.py",
    "triton.losses": "nn/fast/test_triton_losses.py",
    "triton.optim": "nn/fast/test_triton_optim.py",
    "triton.pixels": "nn/fast/test_triton_images.py",
    "triton.returns": "nn/fast/test_triton_losses.py",
    "triton.tiles": "nn/fast/test_filter_triton.py",
}
#: They compute nothing: they move data, repeat what is computed elsewhere, or choose.
NO_ARITHMETIC = {
    *("constants", "graphs", "parcels", "precision", "rank_watch", "ranks", "recordings", "switch"),
}


def test_every_fast_module_is_compared_with_its_plain_form() -> None:
    paths = [path.relative_to(FAST).with_suffix("") for path in FAST.rglob("*.py")]
    modules = {".".join(path.parts) for path in paths if path.name != "__init__"}
    assert modules == COMPARED.keys() | NO_ARITHMETIC
    assert not COMPARED.keys() & NO_ARITHMETIC
    for module, test in COMPARED.items():
        # Names of the kernels' modules stand in the tests of what calls them.
        assert (TESTS / test).exists(), module


def test_the_form_comes_back_however_a_block_ends() -> None:
    assert in_use() == "fast"
    with use("plain"):
        with use("torch"):
            assert in_use() == "torch"
        assert in_use() == "plain"
    assert in_use() == "fast"

    def interrupted() -> None:
        with use("plain"):
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert in_use() == "fast"


def test_the_form_holds_in_all_threads() -> None:
    found: list[Form] = []
    with use("plain"):
        thread = Thread(target=lambda: found.append(in_use()))
        thread.start()
        thread.join()
    assert found == ["plain"]


def _refuse(*_args: Any, **_kwargs: Any) -> Any:
    raise AssertionError("fast")


class _Refusing:
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.fixture
def nothing_fast(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let whatever is fast fail from now on."""

    def forbid() -> None:
        monkeypatch.setattr(kernels, "compiled", _Refusing())
        monkeypatch.setattr(threads, "_side_by_side", _refuse)
        monkeypatch.setattr(th.autograd.Function, "apply", _refuse)  # gradients written by hand
        for kind in (tapes.StackTape, unroll.CoreTape, unroll.Imagination):
            monkeypatch.setattr(kind, "__init__", _refuse)

    return forbid


IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)
VECTOR = spaces.Box(-1, 1, (3,), np.float32)


def _agent(name: str, space: spaces.Space) -> Any:
    """Make an agent that has collected and not learned, the same every time."""
    policy = "MlpPolicy" if space is VECTOR else "CnnPolicy"
    late: dict[str, Any] = {"learning_starts": 10**6} if name in HAS_REPLAY else {"n_steps": 40}
    settings = {**TINY[name], "seed": 0, **late, "device": "cpu"}
    env = RandomEnv(space)
    env.observation_space.seed(0)
    kind: Any = AGENTS[name]
    agent = kind(policy, env, policy_kwargs=TINY_POLICY[name], **settings)
    # Without a replay, a window of forty steps would have been learned from at its end.
    agent.learn(41, callback=lambda *_: agent.num_timesteps < 40)
    generator = th.Generator().manual_seed(1)
    with th.no_grad():
        for p in agent.policy.trained_parameters():
            p.add_(0.1 * th.randn(p.shape, generator=generator))
    return agent


def _live(agent: Any) -> dict[str, Any]:
    """Update, act and, with a model, dream once."""
    agent.train(*((1,) if has_replay(agent) else ()))
    found: dict[str, Any] = {
        name: value
        for name, value in agent.logger.name_to_value.items()
        if name.startswith("train/")
    }
    found["gradients"] = [p.grad for p in agent.policy.trained_parameters() if p.grad is not None]
    th.manual_seed(3)
    obs = np.stack([agent.observation_space.sample() * 0 + 1] * 2)
    found["action"], found["state"] = agent.predict(obs)
    if not hasattr(agent, "dream_env"):
        return found
    dream = agent.dream_env(n_envs=3)
    dream.seed(0)
    start = dream.reset()
    actions = np.zeros((3, *agent.action_space.shape), np.float32)
    after, reward, *_ = dream.step(actions)
    # A byte may round the other way.
    levels = 255.0 if agent.observation_space.dtype == np.uint8 else 1.0
    found["dream"] = [np.asarray(x, np.float64) / levels for x in (start, after)]
    found["reward"] = reward
    return found


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = th.get_num_threads()
    th.set_num_threads(request.param)
    yield
    th.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("space", [VECTOR, IMAGE], ids=["vector", "image"])
@pytest.mark.parametrize("name", WITH_MEMORY)
def test_agents_live_alike_in_the_plain_form(
    name: str, space: spaces.Space, nothing_fast: Callable[[], None]
) -> None:
    """They update, act and dream with the same numbers, and call nothing that is fast."""
    fast = _live(_agent(name, space))
    agent = _agent(name, space)
    nothing_fast()
    with use("plain"):
        plain = _live(agent)
    assert fast.keys() == plain.keys()
    for key, value in fast.items():
        loose = 1.01 / 255 if key == "dream" and space is IMAGE else 1e-4
        th.testing.assert_close(value, plain[key], rtol=1e-3, atol=loose, msg=key)


def test_what_is_fast_is_fast_again_afterwards(nothing_fast: Callable[[], None]) -> None:
    """Or the test above would compare the plain form with itself."""
    agent = _agent("dreamer_v3", VECTOR)
    nothing_fast()
    with use("plain"):
        agent.train(1)
    with pytest.raises(AssertionError):
        agent.train(1)
