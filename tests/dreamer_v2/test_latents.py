"""DreamerV2 with each kind of latents: gradients, dreams, plans, what is saved and logged."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch as th

from dreamzoo.analysis.open_loop import open_loop
from dreamzoo.dreamer_v2 import DreamerV2
from dreamzoo.nn.rssm.codebook import CodebookLatents
from dreamzoo.nn.rssm.kinds import LatentsKind
from dreamzoo.planning import CEM, CEMPlanner
from tests.dreamer_v2.test_agent import make_agent

of_all = pytest.mark.parametrize("kind", get_args(LatentsKind))
#: An update for every two steps.
OFTEN: dict[str, Any] = {"train_ratio": 4.0, "learning_starts": 11}


def settings(kind: str, **latents_kwargs: Any) -> dict[str, Any]:
    return {
        **DreamerV2.smallest["policy_kwargs"],
        "latents": kind,
        "latents_kwargs": latents_kwargs,
    }


def make(kind: str, actions: str = "discrete", given: Any = None, **kwargs: Any) -> DreamerV2:
    return make_agent(actions, policy_kwargs=settings(kind, **(given or {})), **kwargs)


@of_all
def test_dreams_consist_of_what_the_model_was_trained_on(kind: LatentsKind) -> None:
    agent = make(kind, **OFTEN).learn(30)
    latent = agent.world_model.initial(64)
    action = th.zeros(64, agent.world_model.action_dim)
    with th.no_grad():
        for mode in (False, True):
            stoch = agent.world_model.imagine_step(latent, action, mode=mode).stoch
            if isinstance(latents := agent.policy.latents, CodebookLatents):
                assert stoch.shape == (64, 3, 16)
                book = latents.codebook
                assert th.equal(stoch, book.codes[th.arange(3), book.nearest(stoch)])
            elif kind == "gaussian":
                assert stoch.shape == (64, 3, 1)
            else:
                th.testing.assert_close(stoch.sum(-1), th.ones(64, 3))
                is_soft = kind == "gumbel" and not mode
                assert bool(((stoch > 0.01) & (stoch < 0.99)).any()) == is_soft


@of_all
def test_dreams_videos_and_planners_take_every_kind(kind: LatentsKind) -> None:
    agent = make(kind, "box", **OFTEN).learn(30)
    dream = agent.dream_env(3, horizon=4)
    seen: Any = dream.reset()
    for _ in range(4):
        seen, rewards, _, _ = dream.step(np.zeros((3, 2), np.float32))
        assert np.isfinite(seen).all()
        assert np.isfinite(rewards).all()
    planner = CEMPlanner(agent, CEM(horizon=3, iterations=2, candidates=8, elites=2))
    assert agent.env is not None
    plans = [planner.predict(agent.env.reset(), deterministic=True)[0] for _ in range(2)]
    assert plans[0].shape == (1, 2)
    assert agent.replay_buffer is not None
    batch = agent.replay_buffer.sample(2, batch_length=8)
    shown = open_loop(agent.policy, batch, 3)
    assert isinstance(shown.prediction, th.Tensor)
    assert shown.prediction.shape == (2, 8, 3)
    assert shown.prediction.isfinite().all()


@of_all
def test_acting_by_the_most_likely_latents_is_a_pure_function(kind: LatentsKind) -> None:
    agent = make(kind, **OFTEN).learn(30)
    assert agent.env is not None
    obs: Any = agent.env.reset()
    one, other = (agent.predict(obs, deterministic=True)[1] for _ in range(2))
    assert one is not None
    assert other is not None
    for part, same in zip(one, other, strict=True):
        assert np.array_equal(part, same)
    stoch = one[1].reshape(3, -1)
    if kind not in ("gaussian", "vq"):
        assert set(np.unique(stoch)) == {0.0, 1.0}


def ways(agent: DreamerV2, term: str) -> set[str]:
    """Which parts of the model a term of the loss teaches."""
    assert agent.replay_buffer is not None
    loss = agent.losses(agent.replay_buffer.sample(2)).terms[term]
    named = {name: p for name, p in agent.policy.named_parameters() if p.requires_grad}
    grads = th.autograd.grad(loss, [*named.values()], allow_unused=True)
    parts = [".".join(name.split(".")[: 3 if "dynamics" in name else 2]) for name in named]
    return {
        part.removeprefix("world_model.")
        for part, grad in zip(parts, grads, strict=True)
        if grad is not None and grad.any()
    }


def test_commitment_teaches_what_computes_vectors_and_nothing_that_reads_codes() -> None:
    agent = make("vq", gradient_steps=0).learn(20)
    agent._begin_updates()
    before = {"encoder", "dynamics.input", "dynamics.cell", "dynamics.post_head"}
    assert ways(agent, "commitment") == before
    assert ways(agent, "kl") == before | {"dynamics.prior_head"}
    assert ways(agent, "recon") == before | {"decoder"}


@pytest.mark.parametrize(("rho", "learns"), [(1.0, False), (0.0, True)])
def test_the_actor_learns_through_codes_if_asked(rho: float, learns: bool) -> None:
    """Straight through to the expectation, and from there to the action that led to it."""
    agent = make("vq", "box", rho=rho, ent_coef=0.0, gradient_steps=0).learn(20)
    agent._begin_updates()
    model = agent.policy.world_model
    dream = model.imagine(
        model.initial(4),
        agent.policy.actor,
        agent.policy.critic_target,
        3,
        0.9,
        graph=agent.rho != 1.0,
    )
    assert dream.feat[..., 8:].requires_grad == learns
    if learns:
        bias = agent.policy.actor.out.bias
        (grad,) = th.autograd.grad(dream.feat[-1, :, 8:].sum(), bias)
        assert grad.any()


def test_the_divergence_of_codes_teaches_by_the_priors_share_alone() -> None:
    """0.8 of the plain divergence's gradient; none of it is left where the share is zero."""
    agent = make("vq", gradient_steps=0).learn(20)
    agent._begin_updates()
    dynamics: Any = agent.world_model.dynamics
    weight = dynamics.prior_head[2].weight
    assert agent.replay_buffer is not None
    batch = agent.replay_buffer.sample(2)
    grads = []
    for share in (None, 0.8, 0.0):
        agent.kl_balance = share
        assert agent._generator is not None
        agent._generator.manual_seed(0)
        book = {name: x.clone() for name, x in agent.policy.latents.state_dict().items()}
        grads.append(th.autograd.grad(agent.losses(batch).terms["kl"], weight)[0])
        agent.policy.latents.load_state_dict(book)
    assert grads[0].any()
    th.testing.assert_close(grads[1], 0.8 * grads[0])
    assert not grads[2].any()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("gumbel", {"temperature"}),
        ("st_gumbel", {"temperature"}),
        ("vq", {"codebook_perplexity", "codebook_used", "codebook_revived", "commitment_loss"}),
    ],
)
def test_the_log_says_what_latents_do(kind: LatentsKind, names: set[str]) -> None:
    line = {} if kind == "vq" else {"temperature": (1.0, 0.5, 40)}
    agent = make(kind, given=line, **OFTEN).learn(20)
    agent.learn(10, reset_num_timesteps=False)
    agent.train(1)
    logged = agent.logger.name_to_value
    assert {f"train/{name}" for name in names} <= logged.keys()
    if kind == "vq":
        assert 1.0 <= logged["train/codebook_perplexity"] <= 4.0
        assert 0.25 <= logged["train/codebook_used"] <= 1.0
        weights = agent._loss_weights()
        assert weights["commitment"] == 0.25
    else:
        assert logged["train/temperature"] == pytest.approx(1.0 - 0.5 * 30 / 40)


def test_a_bad_loss_leaves_no_trace_in_the_codebook() -> None:
    agent = make("vq", **OFTEN).learn(30)
    before = {name: x.clone() for name, x in agent.policy.latents.state_dict().items()}
    agent.world_model.reward.out.bias.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        agent.train(1)
    after = agent.policy.latents.state_dict()
    assert after.keys() == before.keys() == {"codebook.codes", "codebook.shares"}
    assert all(th.equal(after[name], x) for name, x in before.items())


def test_a_saved_agent_keeps_its_codebook_and_its_temperature(tmp_path: Path) -> None:
    for kind, given in (("vq", {"revive": 0.9}), ("gumbel", {"temperature": (1.0, 0.5, 60)})):
        agent = make(kind, given=given, **OFTEN).learn(30)
        agent.save(tmp_path / kind)
        again = DreamerV2.load(tmp_path / kind, device="cpu")
        assert again.policy.latents.state_dict().keys() == agent.policy.latents.state_dict().keys()
        for name, value in agent.policy.latents.state_dict().items():
            assert th.equal(again.policy.latents.state_dict()[name], value)
    relaxed: Any = again.policy.latents
    assert float(relaxed.temperature) == pytest.approx(0.75, abs=0.02)
