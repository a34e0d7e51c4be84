"""
What the oracles of MERLIN and RL-MEM share: networks, readers and returns, one number at a time.

Written from the paper (arXiv:1803.10760) and its specification, in float64; only convolutions are
the agents' own.
"""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn
from torch.func import functional_call

from tests.dreamers_oracle import one_hot
from tests.nn.memory.slow import SlowMemory, lstm_step
from tests.oracles import double_weights, linear

Obs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Reader:
    """
    What one of the two networks knows.

    :param outputs: hidden state of every layer
    :param cells: the same of their cells
    :param read: what was read last
    """

    outputs: list[Tensor]
    cells: list[Tensor]
    read: Tensor

    @property
    def context(self) -> Tensor:
        return th.cat([*self.outputs, self.read])

    def detach(self) -> "Reader":
        outputs, cells = ([x.detach() for x in part] for part in (self.outputs, self.cells))
        return Reader(outputs, cells, self.read.detach())


class Acted(NamedTuple):
    """
    What a step of the window is learned from by V, A and the policy.

    :param value: with gradient
    :param advantage: with gradient
    :param log_prob: with gradient
    :param entropy: with gradient
    :param reward: that followed
    :param beyond: value of what followed, where the window does not show it; None elsewhere
    """

    value: Tensor
    advantage: Tensor
    log_prob: Tensor
    entropy: Tensor
    reward: float
    beyond: float | None


class Numbers:
    """
    Weights of an agent, and what is computed from them.

    Settings: ``gamma``, ``gae_lambda``, and of the policy ``rows``, ``retroactive``,
    ``mask_unwritten``, ``latents``, ``layers``.

    :param policy: whose weights are copied
    :param observation_space: what it sees
    :param action_space: what it does
    :param settings: see above
    """

    def __init__(
        self,
        policy: nn.Module,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        settings: dict[str, Any],
    ) -> None:
        self.w, self.s, self.actions = double_weights(policy), settings, action_space
        self.is_dict = isinstance(observation_space, spaces.Dict)
        self.space = dict(getattr(observation_space, "spaces", {"": observation_space}))
        self.images = [k for k in sorted(self.space) if len(self.space[k].shape or ()) == 3]
        self.flat = [k for k in sorted(self.space) if k not in self.images]
        self.cnns = {
            name: deepcopy(module).double()
            for name, module in policy.named_modules()
            if name.endswith(".cnn")
        }

    # ------------------------------------------------------------------ networks

    def tanh_net(self, name: str, x: Tensor) -> Tensor:
        layer = 0
        while f"{name}.{layer + 2}.weight" in self.w:
            x = th.tanh(linear(self.w, f"{name}.{layer}", x))
            layer += 2
        return linear(self.w, f"{name}.{layer}", x)

    def cnn(self, name: str, x: Tensor) -> Tensor:
        weights = {k[len(name) + 1 :]: v for k, v in self.w.items() if k.startswith(f"{name}.")}
        return functional_call(self.cnns[name], weights, (x[None],))[0]

    def numbers(self, key: str, obs: Obs) -> Tensor:
        """What is read of one part of an observation, and reproduced."""
        space, x = self.space[key], th.as_tensor(obs[key])
        if key in self.images:
            return x.double() / 255
        if isinstance(space, spaces.Discrete):
            return one_hot(int(x) - int(space.start), int(space.n))
        return x.double().flatten()

    def token(self, name: str, obs: Obs) -> Tensor:
        """Encode an observation by the encoder of that name."""
        tokens = []
        if self.images:
            images = th.cat([self.numbers(k, obs) for k in self.images])
            tokens.append(self.cnn(f"{name}.cnn", images))
        if self.flat:
            x, layer = th.cat([self.numbers(k, obs) for k in self.flat]), 0
            while f"{name}.mlp.{layer}.weight" in self.w:
                x = linear(self.w, f"{name}.mlp.{layer}", x).clamp(0)
                layer += 2
            tokens.append(x)
        return th.cat(tokens)

    @property
    def sizes(self) -> list[int]:
        """Classes of every action dimension."""
        if isinstance(self.actions, spaces.Discrete):
            return [int(self.actions.n)]
        return [int(n) for n in self.actions.nvec]  # type: ignore[attr-defined]

    def numbers_of(self, action: np.ndarray) -> Tensor:
        """What networks read of an action in replay form."""
        if isinstance(self.actions, spaces.Box):
            return th.as_tensor(action).double()
        return th.cat([one_hot(int(a), n) for a, n in zip(action, self.sizes, strict=True)])

    # ------------------------------------------------------------------ reading

    def made_memory(self) -> SlowMemory | None:
        """Make an empty memory."""
        if not self.s["rows"]:
            return None
        gamma = self.s["gamma"] if self.s["retroactive"] else None
        masks = self.s["mask_unwritten"]
        return SlowMemory(self.s["rows"], self.s["latents"], gamma, masks=masks)

    def made_reader(self, name: str, heads: int) -> Reader:
        """Make what a network knows before an episode."""
        units = self.w[f"{name}.lstm.cells.0.weight_hh"].shape[1]
        zeros = [th.zeros(units).double()] * self.s["layers"]
        halves = 2 if self.s["retroactive"] else 1
        read = heads * self.s["latents"] * halves if self.s["rows"] else 0
        return Reader(zeros, zeros, th.zeros(read).double())

    def ask(
        self, name: str, x: Tensor, before: Reader, memory: SlowMemory | None, heads: int
    ) -> tuple[Reader, list[list[Tensor]]]:
        """Advance the network of that name, which then reads."""
        seen, lstm = th.cat([x, before.read]), f"{name}.lstm."
        outputs, cells = lstm_step(self.w, lstm, seen, before.outputs, before.cells)
        if memory is None:
            return Reader(outputs, cells, before.read), []
        numbers = linear(self.w, f"{name}.heads.keys", th.cat(outputs))
        read, weights = [], []
        for part in numbers.chunk(heads):
            value, weight = memory.read(part[:-1], (1 + part[-1].exp()).log())
            read.append(value)
            weights.append(weight)
        return Reader(outputs, cells, th.cat(read)), weights

    # ------------------------------------------------------------------ acting

    def policy(self, out: Tensor, action: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """
        Read a policy off what a network says.

        :param out: of the network
        :param action: that was chosen, in replay form
        :return: its log-probability; the entropy; how V reads the policy
        """
        log_prob, entropy = th.zeros(()).double(), th.zeros(()).double()
        if isinstance(self.actions, spaces.Box):
            raw_mean, raw_std = out.chunk(2)
            mean, std = th.tanh(raw_mean), 0.1 + 0.9 * th.sigmoid(raw_std + 2)
            for m, s, a in zip(mean, std, action.tolist(), strict=True):
                log_prob = log_prob - ((a - m) / s) ** 2 / 2 - (s * math.sqrt(2 * math.pi)).log()
                entropy = entropy + (s * math.sqrt(2 * math.pi * math.e)).log()
            return log_prob, entropy, th.cat([mean, std.log()]).detach()
        logs, start = [], 0
        for one in self.numbers_of(action).split(self.sizes):
            p = out[start : start + len(one)].softmax(0)
            log_prob = log_prob + (p.log() * one).sum()
            entropy = entropy - (p * p.log()).sum()
            logs.append(p.log())
            start += len(one)
        return log_prob, entropy, th.cat(logs).detach()

    def targets(self, acted: list[Acted]) -> list[tuple[float, float]]:
        """Return what follows every step, and the generalized advantage, as sums over what does."""
        gamma, decay = self.s["gamma"], self.s["gamma"] * self.s["gae_lambda"]
        values = [float(a.value.detach()) for a in acted]
        targets = []
        for t in range(len(acted)):
            total = advantage = 0.0
            for k in range(t, len(acted)):
                beyond = acted[k].beyond
                after = values[k + 1] if beyond is None else beyond
                total += gamma ** (k - t) * acted[k].reward
                advantage += decay ** (k - t) * (acted[k].reward + gamma * after - values[k])
                if beyond is not None:
                    total += gamma ** (k - t + 1) * beyond
                    break
            targets.append((total, advantage))
        return targets
