"""RL-MEM and RL-LSTM against numbers, one row and one step at a time, in float64."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import configure
from torch import Tensor

from dreamzoo.merlin import MERLIN, RLLSTM, RLMEM, SIZES
from dreamzoo.nn.state import leaves
from tests.dreamers import ACTIONS, VECTOR
from tests.dreamers_oracle import half_square
from tests.merlin.agents import TWO, T
from tests.merlin.lives import Step, Windows, lives, make_env
from tests.merlin.parts import Acted, Numbers, Obs, Reader
from tests.nn.memory.slow import SlowMemory
from tests.oracles import assert_gradients, linear, mean

pytestmark = pytest.mark.filterwarnings("ignore:Episodes have")
#: No default, no two alike, none 1.
SETTINGS: dict[str, Any] = {
    "gamma": 0.87,
    "gae_lambda": 0.79,
    "ent_coef": 0.23,
    "vf_coef": 1.9,
    "max_grad_norm": 1e6,
}
POLICY: dict[str, Any] = {
    "rows": 3,
    "retroactive": True,
    "mask_unwritten": True,
    "memory_write_grad": True,
}


def make_agent(
    observations: spaces.Space, actions: spaces.Space, kind: type[RLMEM] = RLMEM, **changes: Any
) -> Any:
    """Make an agent with weights that are not those of a beginner."""
    settings = {k: changes.get(k, v) for k, v in SETTINGS.items()}
    of_memory = {} if kind is RLLSTM else {k: changes.get(k, v) for k, v in POLICY.items()}
    policy = {"size": "debug", **of_memory}
    alias = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    env = make_env(observations, actions)
    agent = kind(alias, env, n_steps=T, seed=3, device="cpu", policy_kwargs=policy, **settings)
    generator = th.Generator().manual_seed(1)
    with th.no_grad():
        for p in agent.policy.parameters():
            p.add_(0.3 * th.randn(p.shape, generator=generator))
    return agent


@dataclasses.dataclass(frozen=True)
class Known:
    """
    What is known after an observation of one row.

    :param seen: by all heads
    :param memory: with what was written
    :param reader: the network
    """

    seen: Tensor
    memory: SlowMemory | None
    reader: Reader


class Oracle(Numbers):
    """Weights of an agent, and its losses."""

    def see(self, known: Known, obs: Obs, came: tuple[np.ndarray, float] | None) -> Known:
        """See an observation, read, then write what the network makes of it."""
        width = self.numbers_of(np.zeros(len(self.sizes), int)).shape[0]
        action = th.zeros(width).double() if came is None else self.numbers_of(came[0])
        reward = th.tensor([0.0 if came is None else came[1]]).double()
        seen = th.cat([self.token("encoder", obs), reward, action])
        heads = self.s["heads"]
        reader, weights = self.ask("reader", seen, known.reader, known.memory, heads)
        hidden, memory = th.cat(reader.outputs), None
        if known.memory is not None:
            memory, value = known.memory.copy(), linear(self.w, "writing", hidden)
            memory.write(value if self.s["memory_write_grad"] else value.detach(), weights)
        return Known(th.cat([seen, hidden]), memory, reader)

    def value(self, known: Known) -> Tensor:
        return self.tanh_net("value_net", known.seen)[0]

    def follow(
        self, life: list[Step], actions: list[np.ndarray], beginning: int, upcoming: Obs
    ) -> list[Acted]:
        """Follow one row from its first step; return the steps of the window that begins there."""
        reader = self.made_reader("reader", self.s["heads"])
        nothing = Known(th.zeros(0), self.made_memory(), reader)
        known, acted = nothing, []
        for t, step in enumerate(life):
            came = None if step.is_first else (actions[t - 1], life[t - 1].reward)
            if step.is_first:
                known = nothing
            elif t == beginning:
                memory = None if known.memory is None else known.memory.detach()
                known = Known(known.seen, memory, known.reader.detach())
            known = self.see(known, step.obs, came)
            if t < beginning:
                continue
            leads, beyond = (actions[t], step.reward), None
            last = step.last if step.last is not None or t < len(life) - 1 else upcoming
            if last is not None:
                after = self.value(self.see(known, last, leads)).item()
                beyond = 0.0 if step.is_terminal else after
            out = self.tanh_net("action_net", known.seen)
            log_prob, entropy, _ = self.policy(out, actions[t])
            value = self.value(known)
            acted.append(Acted(value, value, log_prob, entropy, step.reward, beyond))
        return acted

    def losses(self, rows: list[list[Acted]]) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {"value": [], "policy": [], "entropy": []}
        for acted in rows:
            for a, (total, advantage) in zip(acted, self.targets(acted), strict=True):
                terms["value"].append(half_square(a.value - total))
                terms["policy"].append(-advantage * a.log_prob)
                terms["entropy"].append(-a.entropy)
        return {name: mean(parts) for name, parts in terms.items()}


@pytest.mark.parametrize(
    ("observations", "actions", "changes"),
    [
        pytest.param(VECTOR, "discrete", {}, id="vector"),
        pytest.param(TWO, "multi", {"max_grad_norm": 0.4}, id="dict, clipped"),
        pytest.param(VECTOR, "discrete", {"rows": 50}, id="many rows"),
        pytest.param(
            VECTOR,
            "discrete",
            {"retroactive": False, "memory_write_grad": False, "mask_unwritten": False},
            id="constant rows of one half",
        ),
        pytest.param(VECTOR, "discrete", {"rows": 0}, id="RL-LSTM"),
    ],
)
def test_a_window_is_learned_from_as_the_oracle_does(
    observations: spaces.Space, actions: str, changes: dict[str, Any]
) -> None:
    agent = make_agent(observations, ACTIONS[actions], **changes)
    given = {**dataclasses.asdict(SIZES["debug"]), **SETTINGS, **POLICY, **changes}
    oracle = Oracle(agent.policy, observations, ACTIONS[actions], given)
    agent.set_logger(configure(None, []))
    windows = _Collected()
    agent.learn(2 * 2 * T, callback=windows)
    agent.train()
    acted = th.cat([window.actions for window in windows.kept], dim=1).numpy()
    last = agent._last_obs if isinstance(agent._last_obs, dict) else {"": agent._last_obs}
    parts = [{k: x[i] for k, x in last.items()} for i in range(2)]
    rows = [
        oracle.follow(life, [*acts], T, after)
        for life, acts, after in zip(lives(agent.get_env()), acted, parts, strict=True)
    ]
    losses = oracle.losses(rows)
    logged = {k.removeprefix("train/"): v for k, v in agent.logger.name_to_value.items()}
    assert {k.removesuffix("_loss") for k in logged if k.endswith("_loss")} == losses.keys()
    for name, loss in losses.items():
        assert logged[f"{name}_loss"] == pytest.approx(loss.item(), rel=2e-5, abs=1e-6), name

    weights = {"policy": 1.0, "value": given["vf_coef"], "entropy": given["ent_coef"]}
    total = sum((weights[k] * v for k, v in losses.items()), th.zeros(()).double())
    sources = [*oracle.w.values()]
    found = th.autograd.grad(total, sources, allow_unused=True, materialize_grads=True)
    norm = th.stack([g.norm() for g in found]).norm().item()
    assert logged["grad_norm"] == pytest.approx(norm, rel=1e-4)
    scale = min(1.0, given["max_grad_norm"] / norm)
    named = zip(oracle.w, found, strict=True)
    assert_gradients(agent.policy, {k: scale * g if g.any() else None for k, g in named})
    assert (scale < 1.0) == ("max_grad_norm" in changes)
    for name, gradient in zip(oracle.w, found, strict=True):
        is_constant = name.startswith("writing.") and not given["memory_write_grad"]
        assert gradient.any() != is_constant, name


class _Collected(Windows):
    """Windows of an agent that is not learned from, as they are."""

    def __init__(self) -> None:
        super().__init__(trains=False)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        agent: Any = self.model
        self.kept.append(agent.rollout_buffer.window(agent.device))


class _Again(_Collected):
    """Go through every window again before it is learned from."""

    def __init__(self) -> None:
        super().__init__()
        self.trains = True

    def _on_step(self) -> bool:
        self.steps.append(self.model._last_state.reading.hidden.output)  # type: ignore[attr-defined]
        return True

    def _on_rollout_end(self) -> None:
        super()._on_rollout_end()
        window = self.kept[-1]
        features, _ = self.model.policy.unroll(window)  # type: ignore[operator]
        hidden = th.stack(self.steps[-T:], dim=1)
        assert (features[..., -hidden.shape[-1] :] - hidden).abs().max() < 1e-5
        assert not any(part.requires_grad for part in leaves(window.start))


@pytest.mark.parametrize("kind", [RLMEM, RLLSTM])
@pytest.mark.parametrize("actions", ["box", "multi"])
def test_a_window_is_gone_through_again_as_it_was(actions: str, kind: type[RLMEM]) -> None:
    windows = _Again()
    agent = make_agent(VECTOR, ACTIONS[actions], kind).learn(3 * 2 * T, callback=windows)
    assert agent._n_updates == len(windows.kept) == 3
    rows = agent._last_state.rows
    assert (rows == ()) == (kind is RLLSTM)


def test_asking_for_values_changes_nothing_that_is_remembered() -> None:
    agent = make_agent(VECTOR, ACTIONS["discrete"]).learn(2 * T)
    before = [part.clone() for part in leaves(agent._last_state)]
    one, other = agent._next_values(), agent._next_values()
    assert (one == other).all()
    assert all(map(th.equal, before, leaves(agent._last_state)))


@pytest.mark.parametrize(
    "given",
    [
        {"rows": 5},
        {"retroactive": False},
        {"retro_gamma": 0.5},
        {"mask_unwritten": False},
        {"memory_write_grad": False},
    ],
    ids=str,
)
def test_settings_of_a_memory_are_refused_by_an_agent_without_one(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))}.*RLMEM is the same agent with one"):
        RLLSTM("MlpPolicy", "CartPole-v1", policy_kwargs=given)


def test_a_file_of_merlin_is_refused_by_name_not_for_its_settings(tmp_path: Path) -> None:
    merlin = MERLIN("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"), device="cpu")
    merlin.save(tmp_path / "merlin")
    with pytest.raises(ValueError, match=r"merlin holds a MERLIN, not a RLMEM"):
        RLMEM.load(tmp_path / "merlin", device="cpu")
