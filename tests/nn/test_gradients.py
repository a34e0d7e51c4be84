"""The face of a world model has a gradient wherever it is enabled, for every agent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.analysis.open_loop import open_loop
from dreamzoo.common.dreamer_algorithm import DreamerAlgorithm
from dreamzoo.dreamer_v3.policies import DreamerV3WorldModel
from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.distributions import SymexpTwoHot
from dreamzoo.nn.networks.encoders import Encoder
from dreamzoo.nn.networks.world_models import Endless
from dreamzoo.nn.observations import ObservationCodec
from dreamzoo.nn.rssm.dynamics import Dynamics, Latent
from dreamzoo.nn.world_model import WorldModel
from dreamzoo.planning import CEM
from dreamzoo.planning.planner import CEMPlanner
from tests.facts import WORLD_MODELS
from tests.nn.widths import of_encoder
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv


@pytest.fixture(params=WORLD_MODELS)
def agent(request: pytest.FixtureRequest) -> Any:
    """An agent whose networks all depend on everything."""
    name = request.param
    agent: Any = WORLD_MODELS[name](
        "MlpPolicy", RandomEnv(), seed=0, policy_kwargs=TINY_POLICY[name], **TINY[name]
    )
    for p in agent.policy.parameters():
        p.data += 0.1 * th.randn(p.shape, generator=th.Generator().manual_seed(1))
    return agent


def _observe(model: WorldModel, latent: Latent, action: th.Tensor) -> tuple[th.Tensor, ...]:
    obs = th.as_tensor(np.stack([model.codec.space.sample() for _ in range(4)]))
    return tuple(model.observe(latent, action, obs, th.zeros(4, dtype=th.bool)))


def _imagine(model: WorldModel, latent: Latent, action: th.Tensor) -> tuple[th.Tensor, ...]:
    return tuple(model.dynamics.imagine(latent, action.expand(3, -1, -1)).states)


Call = Callable[[WorldModel, Latent, th.Tensor], Any]
#: Calls, and whether actions can matter.
CALLS: dict[str, tuple[Call, bool]] = {
    "observe": (_observe, True),
    "imagine_step": (lambda model, latent, action: tuple(model.imagine_step(latent, action)), True),
    "imagine": (
        lambda model, latent, action: _imagine(model, latent, action),
        True,
    ),
    "reward": (lambda model, latent, _: model.predict(latent)[0], False),
    "discount": (lambda model, latent, _: model.reward_and_discount(latent.feat)[1], False),
    "decode": (lambda model, latent, _: model.decode(latent), False),
    "entropy": (lambda model, latent, _: model.entropy(latent), False),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_has_a_gradient_unless_it_is_switched_off(agent: Any, call: str) -> None:
    function, acts = CALLS[call]
    model: WorldModel = agent.world_model
    if call == "discount" and isinstance(model.cont, Endless):
        pytest.skip("has no continue head")
    latent = model.first_state(4, th.Generator().manual_seed(1))
    latent = Latent(*(x.detach().requires_grad_() for x in latent))
    action = th.zeros(4, model.action_dim, requires_grad=True)

    def run() -> tuple[th.Tensor, ...]:
        th.manual_seed(0)
        np.random.seed(0)
        model.codec.space.seed(0)
        out = function(model, latent, action)
        return out if isinstance(out, tuple) else (out,)

    loss = th.stack([(x * th.arange(x.numel()).view_as(x)).sum() for x in run()]).sum()
    inputs = [latent.deter, action] if acts else [latent.deter]
    for gradient in th.autograd.grad(loss, inputs):
        assert gradient.any()
    with th.no_grad():
        same = run()
    assert not any(x.requires_grad for x in same)
    for one, other in zip(run(), same, strict=True):
        th.testing.assert_close(one.detach(), other)


def test_predictions_have_true_gradients() -> None:
    """Reward, probability of going on and reconstruction of DreamerV3, to float64 precision."""
    codec = ObservationCodec(spaces.Box(-np.inf, np.inf, (3,)))
    size = SIZES["debug"]
    model = DreamerV3WorldModel(codec, Encoder(codec, **of_encoder(size)), 2, size, 0.9).double()
    for p in model.parameters():
        p.data += 0.1 * th.randn(p.shape, generator=th.Generator().manual_seed(1))
    model.cont.out.bias.data -= 3.0
    deter, stoch = th.randn(2, 8).double(), th.randn(2, size.stoch, size.classes).double()
    inputs = [x.requires_grad_() for x in (deter, stoch)]

    def predict(deter: th.Tensor, stoch: th.Tensor) -> tuple[th.Tensor, ...]:
        latent = Latent(deter, stoch)
        reward, cont = model.predict(latent)
        return (
            reward / model.reward.twohot.bins[-1],
            cont,
            model.decoder(latent.feat)["observation"],
        )

    assert all(x.dtype == th.float64 for x in predict(*inputs))
    th.autograd.gradcheck(predict, inputs)


def test_a_two_hot_mean_has_the_gradient_of_its_definition() -> None:
    twohot = SymexpTwoHot(255)
    logits = (
        th.randn(6, 255, generator=th.Generator().manual_seed(0))
        - 0.1 * (th.arange(255) - 127).abs()
    )
    logits.requires_grad_()
    wide = logits.detach().double().requires_grad_()
    expected = (wide.softmax(-1) * twohot.bins.double()).sum(-1)
    (slow,) = th.autograd.grad(expected.sum(), wide)
    (fast,) = th.autograd.grad(twohot.mean(logits).sum(), logits)
    th.testing.assert_close(fast, slow.float(), rtol=1e-4, atol=1e-4 * float(slow.abs().max()))
    with th.no_grad():
        th.testing.assert_close(twohot.mean(logits), expected.float().detach(), rtol=1e-4, atol=0.1)


@pytest.fixture
def watched(agent: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which calls of the model's face were made, and that none of them had a gradient."""
    seen: list[str] = []

    def watch(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            assert not th.is_grad_enabled(), name
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    dynamics: type[Dynamics] = type(agent.world_model.dynamics)
    watch(dynamics, "imagine_step")
    watch(WorldModel, "observe")
    watch(WorldModel, "reward_and_discount")
    watch(WorldModel, "decode")
    watch(type(agent.world_model.reward), "mean")
    return seen


def test_nothing_that_only_runs_the_model_builds_a_graph(agent: Any, watched: list[str]) -> None:
    """
    Acting, updates, dreams, planning and videos, with gradients enabled around them.

    Updates of the first two Dreamers are left out: their actors learn through the model.
    """
    assert th.is_grad_enabled()
    if isinstance(agent, DreamerAlgorithm):
        agent.gradient_steps = 0
    agent.learn(60)
    assert (agent._n_updates > 0) != isinstance(agent, DreamerAlgorithm)
    dream = agent.dream_env(3, horizon=5, start="replay")
    dream.reset()
    for _ in range(5):
        dream.step(np.stack([agent.action_space.sample() for _ in range(3)]))
    open_loop(agent.policy, agent.replay_buffer.sample(2), 2)
    CEMPlanner(agent, CEM(2, 2, 5, 2)).predict(agent.observation_space.sample())
    assert set(watched) == {"imagine_step", "observe", "reward_and_discount", "decode", "mean"}
