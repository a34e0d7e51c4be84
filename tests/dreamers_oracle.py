"""
What the oracles of Dreamer V1 and V2 share: plain networks, draws and Adam, one number at a time.

Written from the papers (arXiv:1912.01603, arXiv:2010.02193) and their specification; only the
convolutions are the agents' own. Weights are read by their names, in float64.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn
from torch.func import functional_call

from tests.oracles import Record, Row, double_weights, linear, mean

#: A draw closer to the border between two classes than this might round to either side.
MARGIN = 1e-5


class State(NamedTuple):
    """
    State of the model at one step of one row.

    :param h: memory, (D,)
    :param z: latents, flat, (S * C,)
    """

    h: Tensor
    z: Tensor

    @property
    def feat(self) -> Tensor:
        return th.cat([self.h, self.z])

    def detach(self) -> "State":
        return State(self.h.detach(), self.z.detach())


class Normals(NamedTuple):
    """
    Independent normal distributions.

    :param mean: (S,)
    :param std: (S,)
    """

    mean: Tensor
    std: Tensor

    def detach(self) -> "Normals":
        return Normals(self.mean.detach(), self.std.detach())

    def kl(self, other: "Normals") -> Tensor:
        """KL(self || other), summed over latents."""
        parts = [
            th.log(r / s) + (s * s + (m - n) ** 2) / (2 * r * r) - 0.5
            for m, s, n, r in zip(*self, *other, strict=True)
        ]
        return sum(parts, zero())


class Classes(NamedTuple):
    """
    Independent categoricals.

    :param logits: (S, C)
    """

    logits: Tensor

    def detach(self) -> "Classes":
        return Classes(self.logits.detach())

    def probs(self, latent: int) -> Tensor:
        weights = self.logits[latent].exp()
        return weights / weights.sum()

    def kl(self, other: "Classes") -> Tensor:
        """KL(self || other), summed over latents."""
        total = zero()
        for latent in range(len(self.logits)):
            p, q = self.probs(latent), other.probs(latent)
            total = total + (p * (p / q).log()).sum()
        return total


def zero() -> Tensor:
    return th.zeros((), dtype=th.float64)


def elu(x: Tensor) -> Tensor:
    return th.where(x > 0, x, x.exp() - 1)


def half_square(x: Tensor) -> Tensor:
    return 0.5 * (x * x).sum()


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(logits.log_softmax(0) * target).sum()


def binary_cross_entropy(logit: Tensor, target: float) -> Tensor:
    p = th.sigmoid(logit)
    return -(target * p.log() + (1 - target) * (1 - p).log())


def one_hot(index: int, classes: int) -> Tensor:
    return th.tensor([float(i == index) for i in range(classes)], dtype=th.float64)


def draw(probs: Tensor, uniform: float) -> Tensor:
    """Take the first class whose cumulative probability exceeds a number, straight through."""
    total, index = 0.0, len(probs) - 1
    for i, p in enumerate(probs.tolist()):
        total += p
        assert abs(total - uniform) > MARGIN, "take another seed"
        if total > uniform:
            index = i
            break
    return one_hot(index, len(probs)) + probs - probs.detach()


def lambda_returns(
    reward: Sequence[Any], discount: Sequence[Any], value: Sequence[Any], lambda_: float
) -> list[Any]:
    """R_k = r_k + d_k ((1 - lambda) v_{k+1} + lambda R_{k+1}); the last one is the last value."""
    returns = [value[-1]]
    for k in reversed(range(len(value) - 1)):
        rest = (1 - lambda_) * value[k + 1] + lambda_ * returns[0]
        returns.insert(0, reward[k] + discount[k] * rest)
    return returns


class DreamerOracle:
    """
    Weights of an agent and everything that reads them.

    :param policy: with ``world_model``, ``actor`` and ``critic``, whose weights are copied
    :param observation_space: what it sees
    :param action_space: what it does
    :param settings: of the agent; all that the update depends on must be there
    :param groups: learning rate of ``world_model``, ``actor`` and ``critic``
    """

    def __init__(
        self,
        policy: nn.Module,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        settings: dict[str, Any],
        groups: dict[str, float],
    ) -> None:
        self.w, self.s, self.groups = double_weights(policy), settings, groups
        self.is_dict = isinstance(observation_space, spaces.Dict)
        parts = getattr(observation_space, "spaces", {"": observation_space})
        self.space: dict[str, spaces.Space] = dict(parts)
        self.actions = action_space
        self.images = [k for k in sorted(self.space) if len(self.space[k].shape or ()) == 3]
        self.flat = [k for k in sorted(self.space) if k not in self.images]
        self.cnns = {
            name: deepcopy(policy.get_submodule(name)).double()
            for name in ("world_model.encoder.cnn", "world_model.decoder.cnn")
            if self.images
        }
        self.n_updates = 0
        self.first = {k: th.zeros_like(v) for k, v in self.w.items()}
        self.second = deepcopy(self.first)
        self.uniform = self.normal = 0.0
        self.norms: dict[str, float] = {}

    # ------------------------------------------------------------------ networks

    def mlp(self, name: str, x: Tensor) -> Tensor:
        """Linear layers, each with its ELU; these are every second module."""
        layer = 0
        while f"{name}.{layer}.weight" in self.w:
            x = elu(linear(self.w, f"{name}.{layer}", x))
            layer += 2
        return x

    def head(self, name: str, feat: Tensor) -> Tensor:
        return linear(self.w, f"{name}.out", self.mlp(f"{name}.body", feat))

    def _cnn(self, name: str, x: Tensor) -> Tensor:
        weights = {k[len(name) + 1 :]: v for k, v in self.w.items() if k.startswith(f"{name}.")}
        return functional_call(self.cnns[name], weights, (x[None],))[0]

    def _input(self, key: str, obs: np.ndarray) -> Tensor:
        """What the network reads of one observation, and what the decoder should say."""
        space = self.space[key]
        if key in self.images:  # around zero, of 8 bits, without noise
            return (
                th.tensor([x / 255 - 0.5 for x in obs.flatten().tolist()]).double().view(obs.shape)
            )
        x = th.as_tensor(obs).flatten()
        if isinstance(space, spaces.Discrete):
            return one_hot(int(x) - int(space.start), int(space.n))
        return x.double()

    def tokens(self, record: Record) -> Tensor:
        tokens = []
        if self.images:
            images = th.cat([self._input(k, record.obs[k]) for k in self.images])
            tokens.append(self._cnn("world_model.encoder.cnn", images))
        if self.flat:
            flat = th.cat([self._input(k, record.obs[k]) for k in self.flat])
            tokens.append(self.mlp("world_model.encoder.mlp", flat))
        return th.cat(tokens)

    def reconstruction(self, feat: Tensor, record: Record) -> dict[str, Tensor]:
        """Negative log-likelihood of every key without its constant, summed over dimensions."""
        losses = {}
        if self.images:
            (key,) = self.images
            said = self._cnn("world_model.decoder.cnn", feat)
            losses[key] = half_square(said - self._input(key, record.obs[key]))
        if self.flat:
            name, targets = (
                "world_model.decoder.mlp",
                [self._input(k, record.obs[k]) for k in self.flat],
            )
            last = max(int(k.split(".")[-2]) for k in self.w if k.startswith(f"{name}."))
            hidden = feat
            for layer in range(0, last, 2):
                hidden = elu(linear(self.w, f"{name}.{layer}", hidden))
            parts = linear(self.w, f"{name}.{last}", hidden).split([len(x) for x in targets])
            for key, said, target in zip(self.flat, parts, targets, strict=True):
                box = isinstance(self.space[key], spaces.Box)
                losses[key] = half_square(said - target) if box else cross_entropy(said, target)
        return losses

    # ------------------------------------------------------------------ actions

    def action_sizes(self) -> list[int]:
        if isinstance(self.actions, spaces.Discrete):
            return [int(self.actions.n)]
        return [int(n) for n in self.actions.nvec]  # type: ignore[attr-defined]

    @property
    def is_continuous(self) -> bool:
        return isinstance(self.actions, spaces.Box)

    def action_before(self, row: Row, t: int) -> Tensor:
        """What the dynamics read of the action that led to step t: zeros where a row starts."""
        if self.is_continuous:
            width = int(np.prod(self.actions.shape or ()))
            return (
                th.zeros(width).double()
                if row.is_first(t)
                else th.as_tensor(row.action_before(t)).double()
            )
        sizes = self.action_sizes()
        if row.is_first(t):
            return th.zeros(sum(sizes)).double()
        index = [int(i) for i in row.action_before(t)]
        return th.cat([one_hot(i, n) for i, n in zip(index, sizes, strict=True)])

    def one_hot_policy(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Draw one-hot actions.

        :return: the action, straight through; its log-probability; the entropy
        """
        action, log_prob, entropy = [], zero(), zero()
        for logits in raw.split(self.action_sizes()):
            probs = logits.softmax(0)
            action.append(draw(probs, self.uniform))
            chosen = int(action[-1].argmax())
            log_prob = log_prob + probs[chosen].log()
            entropy = entropy - (probs * probs.log()).sum()
        return th.cat(action), log_prob, entropy

    # ------------------------------------------------------------------ the update

    def step(self, losses: dict[str, Tensor], shrink: float = 0.0) -> dict[str, Tensor | None]:
        """
        Compute all gradients, then change every group by Adam, each with a norm of its own.

        :param losses: of ``world_model``, ``actor`` and ``critic``
        :param shrink: share taken off every parameter before its step
        :return: gradients after clipping, by the parameter's name; None: not trained
        """
        gradients: dict[str, Tensor | None] = dict.fromkeys(self.w)
        for group, loss in losses.items():
            names = [k for k in self.w if k.startswith(f"{group}.")]
            sources = [self.w[k] for k in names]
            found = th.autograd.grad(loss, sources, retain_graph=True, materialize_grads=True)
            self.norms[group] = math.sqrt(sum(float(g.square().sum()) for g in found))
            scale = min(1.0, self.s["max_grad_norm"] / self.norms[group])
            gradients |= {k: scale * g for k, g in zip(names, found, strict=True)}
        self.n_updates += 1
        with th.no_grad():
            for group, rate in self.groups.items():
                for name, gradient in gradients.items():
                    if gradient is not None and name.startswith(f"{group}."):
                        self._adam(name, gradient, rate, shrink)
        return gradients

    def _adam(self, name: str, gradient: Tensor, rate: float, shrink: float) -> None:
        n, p = self.n_updates, self.w[name]
        self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
        self.second[name] = 0.999 * self.second[name] + 0.001 * gradient**2
        size = (self.second[name] / (1 - 0.999**n)).sqrt() + self.s["adam_eps"]
        p *= 1 - shrink
        p -= rate * self.first[name] / (1 - 0.9**n) / size


def means(terms: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: mean(parts) for name, parts in terms.items()}
