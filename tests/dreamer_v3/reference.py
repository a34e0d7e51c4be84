"""The authors' own numbers for DreamerV3: where they lie, and how their layouts become ours."""

import os
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo import DreamerV3
from dreamzoo.common.buffers import SequenceBatch, Windows
from dreamzoo.nn.rssm.dynamics import Latent
from tests.dreamer_v3.draws import fix_draws

#: Beside a checkout, or where this variable says.
FOLDER = pathlib.Path(
    os.environ.get("DREAMZOO_REFERENCE", pathlib.Path(__file__).parents[3] / "shared" / "reference")
)
#: Rows, steps and settings of the authors' run: size 1m, float32.
ROWS, LENGTH = 4, 16
SETTINGS: dict[str, Any] = dict(learning_rate=1e-3, batch_size=ROWS, batch_length=LENGTH)
WARMUP = 4
#: Widths of size 1m that the layouts below depend on.
DETER, FLAT, BLOCKS, SIDE = 512, 32 * 4, 8, 4

Layout = Callable[[np.ndarray], np.ndarray]


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _transposed(x: np.ndarray) -> np.ndarray:
    return x.T


def _stoch_last(x: np.ndarray) -> np.ndarray:
    """Turn rows that read [stoch, deter] into columns that read [deter, stoch]."""
    return np.concatenate([x[FLAT:], x[:FLAT]]).T


def _kernel(x: np.ndarray) -> np.ndarray:
    return x.transpose(3, 2, 0, 1)


def _tokens(x: np.ndarray) -> np.ndarray:
    """Order the rows that read image tokens by channel, then place."""
    places = x[DETER:].reshape(SIDE, SIDE, -1, x.shape[1]).transpose(2, 0, 1, 3)
    return np.concatenate([x[:DETER], places.reshape(-1, x.shape[1])]).T


def _block_places(x: np.ndarray) -> np.ndarray:
    """Order the columns that write a small image by channel, then place, in every block."""
    lead = x.shape[:-1] if x.ndim == 3 else (BLOCKS,)
    by_place = x.reshape(*lead, SIDE, SIDE, -1)
    ordered = np.moveaxis(by_place, -1, -3).reshape(*lead, -1)
    return ordered if x.ndim == 3 else ordered.reshape(-1)


def _places(x: np.ndarray) -> np.ndarray:
    """Order the columns that write a small image by channel, then place."""
    by_place = x.reshape(*x.shape[:-1], SIDE, SIDE, -1)
    return np.moveaxis(by_place, -1, -3).reshape(*x.shape[:-1], -1).T


class Origin(NamedTuple):
    """
    Where a parameter comes from.

    :param name: there
    :param layout: from there to here
    """

    name: str
    layout: Layout = _same


def _linear(here: str, there: str) -> dict[str, Origin]:
    return {
        f"{here}.weight": Origin(f"{there}/kernel", _transposed),
        f"{here}.bias": Origin(f"{there}/bias"),
    }


def _conv(here: str, there: str) -> dict[str, Origin]:
    return {
        f"{here}.weight": Origin(f"{there}/kernel", _kernel),
        f"{here}.bias": Origin(f"{there}/bias"),
    }


def _dense(here: str, there: str, norm: str | None = None) -> dict[str, Origin]:
    scale = Origin(f"{norm or there + 'norm'}/scale")
    return _linear(f"{here}.linear", there) | {f"{here}.norm.weight": scale}


def _head(here: str, there: str, layers: int, out: str) -> dict[str, Origin]:
    origins = _linear(f"{here}.out", f"{there}/head/{out}") if out else {}
    for i in range(layers):
        origins |= _dense(f"{here}.body.{i}", f"{there}/mlp/linear{i}", f"{there}/mlp/norm{i}")
    return origins


def origins(kind: str) -> dict[str, Origin]:
    """
    Say where every parameter comes from.

    :param kind: ``cont``, ``disc`` or ``img``
    """
    core, dynamics = "world_model.dynamics.core", "world_model.dynamics"
    found: dict[str, Origin] = {}
    for i, name in enumerate(("deter_in", "stoch_in", "action_in")):
        found |= _dense(f"{core}.{name}", f"dyn/dynin{i}")
    for here, there in ((f"{core}.hidden", "dyn/dynhid0"), (f"{core}.gates", "dyn/dyngru")):
        found[f"{here}.weight"] = Origin(f"{there}/kernel")
        found[f"{here}.bias"] = Origin(f"{there}/bias")
    found[f"{core}.hidden_norm.0.weight"] = Origin("dyn/dynhid0norm/scale")
    for i in range(2):
        found |= _dense(f"{dynamics}.prior_hidden.{i}", f"dyn/prior{i}")
    found |= _dense(f"{dynamics}.post_hidden", "dyn/obs0")
    found |= _linear(f"{dynamics}.prior_logits", "dyn/priorlogit")
    found |= _linear(f"{dynamics}.post_logits", "dyn/obslogit")
    found |= _image_origins() if kind == "img" else _vector_origins()
    found |= _head("world_model.reward", "rew", 1, "logits")
    found |= _head("world_model.cont", "con", 1, "logit")
    found |= _head("critic", "val", 3, "logits") | _head("critic_target", "slowval", 3, "logits")
    found |= _head("actor", "pol", 3, "")
    outputs = {"mean": "logits"} if kind == "disc" else {"mean": "mean", "std": "stddev"}
    for here, there in outputs.items():
        found |= _linear(f"actor.{here}", f"pol/head/action/{there}")
    return found


def _vector_origins() -> dict[str, Origin]:
    found: dict[str, Origin] = {}
    for i in range(3):
        found |= _dense(f"world_model.encoder.mlp.{i}", f"enc/mlp{i}")
        norm = f"dec/mlp/norm{i}"
        found |= _dense(f"world_model.decoder.mlp.{i}", f"dec/mlp/linear{i}", norm)
    first = Origin("dec/mlp/linear0/kernel", _stoch_last)
    found["world_model.decoder.mlp.0.linear.weight"] = first
    return found | _linear("world_model.decoder.outputs.0", "dec/vec/vector/pred")


def _image_origins() -> dict[str, Origin]:
    found: dict[str, Origin] = {}
    for i in range(4):
        layers = "world_model.encoder.cnns.0.layers"
        found |= _conv(f"{layers}.{4 * i}", f"enc/cnn{i}")
        found[f"{layers}.{4 * i + 2}.weight"] = Origin(f"enc/cnn{i}norm/scale")
    found["world_model.dynamics.post_hidden.linear.weight"] = Origin("dyn/obs0/kernel", _tokens)
    decoder = "world_model.decoder.cnns.0"
    found[f"{decoder}.from_deter.weight"] = Origin("dec/sp0/kernel", _block_places)
    found[f"{decoder}.from_deter.bias"] = Origin("dec/sp0/bias", _block_places)
    found[f"{decoder}.seed_norm.0.weight"] = Origin("dec/spnorm/scale")
    found |= _dense(f"{decoder}.from_stoch.0", "dec/sp1")
    found[f"{decoder}.from_stoch.1.weight"] = Origin("dec/sp2/kernel", _places)
    found[f"{decoder}.from_stoch.1.bias"] = Origin("dec/sp2/bias", _places)
    for n, i in enumerate((2, 1, 0)):
        found |= _conv(f"{decoder}.layers.{3 * n}.conv", f"dec/conv{i}")
        found[f"{decoder}.layers.{3 * n + 1}.weight"] = Origin(f"dec/conv{i}norm/scale")
    return found | _conv(f"{decoder}.layers.9.conv", "dec/imgout")


class _Env(gym.Env):
    """Spaces, and nothing behind them."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


class Reference:
    """
    One of the authors' files, and an agent of ours with its parameters and random draws.

    :param kind: ``cont`` (six continuous actions), ``disc`` (four discrete ones), ``img`` (pixels)
    :param monkeypatch: fixes the draws
    """

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind, self.key = kind, "image" if kind == "img" else "vector"
        with np.load(FOLDER / f"dreamer_v3_{kind}.npz") as file:
            self.numbers = dict(file)
        self.origins = origins(kind)
        self.agent = self._make_agent()
        self.policy, self.model = self.agent.policy, self.agent.policy.world_model
        fix_draws(monkeypatch)

    def _make_agent(self) -> DreamerV3:
        observation = (
            spaces.Box(0, 255, (64, 64, 3), np.uint8)
            if self.kind == "img"
            else spaces.Box(-np.inf, np.inf, (24,), np.float32)
        )
        discrete = self.kind == "disc"
        action = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (6,), np.float32)
        # The authors' code accepts a uniform share of discrete policies, and ignores it.
        unimix = dict(actor_unimix=0.0) if discrete else {}
        agent = DreamerV3(
            "CnnPolicy" if self.kind == "img" else "MlpPolicy",
            _Env(observation, action),
            buffer_size=1_000,
            device="cpu",
            seed=0,
            policy_kwargs=dict(size="1m", optimizer_kwargs=dict(warmup=WARMUP), **unimix),
            **SETTINGS,
        )
        parameters = dict(agent.policy.named_parameters())
        assert set(parameters) == set(self.origins)
        with th.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(self.here(f"P/{self.origins[name].name}", name))
        self.reset_normalizer(agent)
        return agent

    def reset_normalizer(self, agent: DreamerV3) -> None:
        """Set the moving percentiles of returns to what the authors' run began with."""
        normalizer = agent.policy.return_normalizer
        normalizer.low_value.fill_(float(self.numbers["P/retnorm/lo/value"]))
        normalizer.high_value.fill_(float(self.numbers["P/retnorm/hi/value"]))

    def here(self, key: str, parameter: str) -> th.Tensor:
        """Return numbers of the file that belong to a parameter, in its layout."""
        array = self.origins[parameter].layout(self.numbers[key])
        return th.as_tensor(np.ascontiguousarray(array))

    def get(self, key: str) -> th.Tensor:
        """Return numbers of the file as they are."""
        return th.as_tensor(self.numbers[key])

    def observation(self, key: str) -> th.Tensor:
        """Return observations, images channels first."""
        x = self.numbers[f"{key}/{self.key}"]
        x = np.moveaxis(x, -1, -3) if self.kind == "img" else x
        return th.as_tensor(np.ascontiguousarray(x))

    def action(self, key: str) -> th.Tensor:
        """Return actions in replay form."""
        x = self.get(key)
        return x[..., None] if self.kind == "disc" else x

    def latent(self) -> Latent:
        """Return the states that single networks look at."""
        return Latent(self.get("a/in/deter"), self.get("a/in/stoch"))

    def batch(self) -> SequenceBatch:
        """Return the batch of the whole updates; its latents lie in the replay's first stream."""
        part = partial(self._trained, slice(1, None))
        stored = self.numbers["data/dyn/stoch"][:, 0].argmax(-1).astype(np.uint8)
        return SequenceBatch(
            observations=self.observation("data")[:, 1:],
            actions=self.action("data/action")[:, :-1],
            rewards=part("reward"),
            is_first=part("is_first"),
            is_last=part("is_last"),
            is_terminal=part("is_terminal"),
            latents={
                "deter": self.get("data/dyn/deter")[:, 0],
                "stoch": th.as_tensor(stored),
            },
            windows=Windows(np.zeros(ROWS, int), np.arange(ROWS) * (LENGTH + 1) + 1),
        )

    def _trained(self, steps: slice, name: str) -> th.Tensor:
        return self.get(f"data/{name}")[:, steps]
