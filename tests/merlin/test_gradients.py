"""What each term of the loss teaches, and what it must not touch: exact zeros."""

from typing import Any

import pytest
import torch as th
from torch import Tensor

from dreamzoo.merlin import MERLIN
from dreamzoo.nn.state import leaves, map_parts
from tests.dreamers import ACTIONS, VECTOR
from tests.merlin.agents import SETTINGS, T, collect, make_agent

#: What z is made of.
MODEL = ("encoder", "dynamics.reader.lstm", "dynamics.reader.heads", "dynamics.prior")
Z = (*(f"world_model.{name}." for name in MODEL), "world_model.dynamics.correction.")
#: Which networks each term teaches, all of them and no others.
TEACHES: dict[str, tuple[str, ...]] = {
    "recon": (*Z, "world_model.decoder."),
    "action": (*Z, "world_model.decoded_action."),
    "reward": (*Z, "world_model.reward."),
    "cont": (*Z, "world_model.cont."),
    "kl": Z,
    "value": (*Z, "value_head."),
    "advantage": (*Z, "advantage_head."),
    "policy": ("actor.",),
    "entropy": ("actor.",),
}


def _taught(agent: MERLIN, term: Tensor) -> dict[str, bool]:
    """Say of every parameter whether a term has a gradient to it."""
    named = dict(agent.policy.named_parameters())
    sources = [*named.values()]
    found = th.autograd.grad(term, sources, retain_graph=True, allow_unused=True)
    return {k: g is not None and bool(g.any()) for k, g in zip(named, found, strict=True)}


@pytest.mark.parametrize("write_grad", [False, True])
@pytest.mark.parametrize("actions", ["discrete", "box"])
def test_every_term_teaches_its_networks_and_no_others(actions: str, write_grad: bool) -> None:
    """
    Pitfall 2: the policy's loss reaches the predictor through z, rows, reads, V and advantages
    where these are not constants; the predictor's loss reaches the policy through its logarithms.
    """
    agent, windows = collect(actions, memory_write_grad=write_grad)
    terms = agent.losses(windows.kept[1]).terms
    assert terms.keys() == TEACHES.keys()
    for name, term in terms.items():
        for parameter, taught in _taught(agent, term).items():
            assert taught == parameter.startswith(TEACHES[name]), (name, parameter)


def test_each_optimizer_changes_its_networks_alone() -> None:
    agent, _ = collect()
    policy = agent.policy
    held = [
        {id(p) for group in x.param_groups for p in group["params"]}
        for x in (policy.optimizer, policy.optimizers["actor_optimizer"])
    ]
    for name, p in policy.named_parameters():
        assert (id(p) in held[0]) != (id(p) in held[1]), name
        assert (id(p) in held[1]) == name.startswith("actor."), name


def test_z_learns_nothing_of_the_return_where_that_is_left_out() -> None:
    agent, windows = collect()
    agent.return_gradients = False
    terms = agent.losses(windows.kept[1]).terms
    for name in ("value", "advantage"):
        for parameter, taught in _taught(agent, terms[name]).items():
            assert taught == parameter.startswith(f"{name}_head."), (name, parameter)


def test_without_noise_there_is_no_kl_term() -> None:
    agent, windows = collect(stochastic=False)
    assert "kl" not in agent.losses(windows.kept[1]).terms


@pytest.mark.parametrize("write_grad", [False, True])
def test_nothing_crosses_the_border_of_a_window(write_grad: bool) -> None:
    agent, windows = collect(memory_write_grad=write_grad)
    for window in windows.kept:
        assert not any(part.requires_grad for part in leaves(window.start))
        path = agent.policy.unroll(window)
        assert path.z.requires_grad
        assert path.context.requires_grad
    assert not any(part.requires_grad for part in leaves(agent._last_state))


def test_the_gradient_goes_back_through_the_steps_of_a_window_and_stops_at_episodes() -> None:
    """From the last step to the first one's noise, but not to that of other episodes."""
    agent, windows = collect()
    window = windows.kept[1]
    notes = window.notes.clone().requires_grad_()
    path = agent.policy.unroll(window._replace(notes=notes))
    (gradient,) = th.autograd.grad(path.z[:, -1].square().sum(), notes)
    reached = gradient.any(-1)
    for row, is_first in enumerate(window.is_first):
        begins = int(is_first.nonzero()[-1])
        assert begins > 0
        assert reached[row].tolist() == [t >= begins for t in range(T)]


def test_the_memory_that_a_window_begins_with_matters() -> None:
    """Its first steps read what was written before, and go on with what was known."""
    agent, windows = collect()
    window = windows.kept[1]
    goes_on = ~window.is_first[:, 0]
    assert goes_on.any()
    start = map_parts(th.zeros_like, window.start)
    one, other = (agent.policy.unroll(window._replace(start=x)) for x in (window.start, start))
    assert (one.z[goes_on, 0] != other.z[goes_on, 0]).any()
    rows = window.start.latent.rows
    empty = rows._replace(content=th.zeros_like(rows.content))
    latent = window.start.latent._replace(rows=empty)
    no_rows = agent.policy.unroll(window._replace(start=window.start._replace(latent=latent)))
    assert (one.context[goes_on, 0] != no_rows.context[goes_on, 0]).any()


@pytest.mark.parametrize("actions", sorted(ACTIONS))
def test_advantages_and_returns_are_constants(
    actions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dreamzoo.merlin import merlin

    seen: list[Any] = []
    plain = merlin.window_advantages

    def spy(reward: Tensor, value: Tensor, *rest: Any) -> Tensor:
        seen.append((value.requires_grad, rest[2:]))
        return plain(reward, value, *rest)

    agent, windows = collect(actions)
    monkeypatch.setattr(merlin, "window_advantages", spy)
    agent.losses(windows.kept[1])
    gamma = SETTINGS["gamma"]
    assert seen == [(False, (gamma, 1.0)), (False, (gamma, SETTINGS["gae_lambda"]))]


def test_the_weight_of_entropy_may_fall_while_steps_are_made() -> None:
    agent = make_agent(VECTOR, ACTIONS["discrete"], {**SETTINGS, "ent_coef": (0.3, 0.1, 8 * T)})
    seen = []
    for _ in range(2):
        agent.learn(2 * T, reset_num_timesteps=False)
        seen.append(float(agent._loss_weights()["entropy"]))
    assert seen == pytest.approx([0.25, 0.2])
