"""
PlaNet's update once more: one row and one step at a time, in float64, without the agent's code.

Written from the paper (arXiv:1811.04551) and its specification; only the convolutions are the
agent's own. Weights are read by their names.
"""

import math
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor
from torch.func import functional_call

from dreamzoo import PlaNet
from tests.oracles import Record, Row, double_weights, linear, mean


class Belief(NamedTuple):
    """
    Independent normal distributions.

    :param mean: (S,)
    :param std: (S,)
    """

    mean: Tensor
    std: Tensor


class Step(NamedTuple):
    """
    One filtered step of one row.

    :param h: memory, (D,); empty without one
    :param s: latent, (S,)
    :param prior: what was expected
    :param post: what was believed after seeing
    """

    h: Tensor
    s: Tensor
    prior: Belief
    post: Belief

    @property
    def feat(self) -> Tensor:
        return th.cat([self.h, self.s])


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(logits.log_softmax(0) * target).sum()


def half_square(x: Tensor) -> Tensor:
    return 0.5 * (x * x).sum()


def kl(p: Belief, q: Belief) -> Tensor:
    """KL(p || q), summed over latents."""
    parts = []
    for m, s, n, r in zip(*p, *q, strict=True):
        parts.append(th.log(r / s) + (s * s + (m - n) ** 2) / (2 * r * r) - 0.5)
    return sum(parts, th.zeros(()))


class Oracle:
    """
    Everything that an agent learns with, and its updates.

    :param agent: whose weights and spaces are copied
    :param settings: what its constructor was given; all that the update depends on must be there
    :param policy: its ``policy_kwargs``
    """

    def __init__(self, agent: PlaNet, settings: dict[str, Any], policy: dict[str, Any]) -> None:
        self.w = double_weights(agent.policy)
        self.s, self.kind = settings, policy["dynamics"]
        elu = policy["activation"] == "elu"
        self.activate = th.nn.functional.elu if elu else th.relu
        space = agent.observation_space
        self.is_dict = isinstance(space, spaces.Dict)
        self.space = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
        self.images = [k for k in sorted(self.space) if len(self.space[k].shape or ()) == 3]
        self.flat = [k for k in sorted(self.space) if k not in self.images]
        model: Any = agent.policy.world_model
        self.cnns = {
            f"world_model.{part}.cnn": deepcopy(getattr(model, part).cnn).double()
            for part in ("encoder", "decoder")
            if self.images
        }
        self.deter = 0 if self.kind == "ssm" else policy["deter"]
        self.stoch = policy["stoch"]
        self.n_updates = 0
        self.first = {k: th.zeros_like(v) for k, v in self.w.items()}
        self.second = deepcopy(self.first)
        self.uniform = self.normal = 0.0
        self.seen: dict[str, list[float]] = {"kl": [], "norm": [], "overshooting": []}

    # ------------------------------------------------------------------ networks

    def mlp(self, name: str, x: Tensor) -> Tensor:
        """Linear layers, each with its activation; these are every second module."""
        layer = 0
        while f"{name}.{layer}.weight" in self.w:
            x = self.activate(linear(self.w, f"{name}.{layer}", x))
            layer += 2
        return x

    def _cnn(self, name: str, x: Tensor) -> Tensor:
        weights = {k[len(name) + 1 :]: v for k, v in self.w.items() if k.startswith(f"{name}.")}
        return functional_call(self.cnns[name], weights, (x[None],))[0]

    def _input(self, key: str, obs: np.ndarray) -> Tensor:
        """What the network reads of one observation, and what the decoder should say."""
        space = self.space[key]
        if key in self.images:
            pixels = [(x // 8 + self.uniform) / 32 - 0.5 for x in obs.flatten().tolist()]
            return th.tensor(pixels, dtype=th.float64).view(obs.shape)
        x = th.as_tensor(obs).flatten()
        if isinstance(space, spaces.Discrete):
            return th.eye(int(space.n), dtype=th.float64)[int(x) - int(space.start)]
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
            name = "world_model.decoder.mlp"
            hidden = self.activate(linear(self.w, f"{name}.0", feat))
            hidden = self.activate(linear(self.w, f"{name}.2", hidden))
            targets = [self._input(k, record.obs[k]) for k in self.flat]
            parts = linear(self.w, f"{name}.4", hidden).split([len(x) for x in targets])
            for key, said, target in zip(self.flat, parts, targets, strict=True):
                box = isinstance(self.space[key], spaces.Box)
                losses[key] = half_square(said - target) if box else cross_entropy(said, target)
        return losses

    def _belief(self, name: str, x: Tensor) -> Belief:
        hidden = self.mlp(f"{name}.hidden", x)
        raw = linear(self.w, f"{name}.std", hidden)
        return Belief(linear(self.w, f"{name}.mean", hidden), (1 + raw.exp()).log() + 0.1)

    def _gru(self, x: Tensor, h: Tensor) -> Tensor:
        w, name = self.w, "world_model.dynamics.cell"
        from_x = (w[f"{name}.weight_ih"] @ x + w[f"{name}.bias_ih"]).chunk(3)
        from_h = (w[f"{name}.weight_hh"] @ h + w[f"{name}.bias_hh"]).chunk(3)
        reset = th.sigmoid(from_x[0] + from_h[0])
        keep = th.sigmoid(from_x[1] + from_h[1])
        new = th.tanh(from_x[2] + reset * from_h[2])
        return (1 - keep) * new + keep * h

    def prior(self, h: Tensor, s: Tensor, action: Tensor) -> tuple[Tensor, Belief]:
        """Next memory and what is expected there."""
        name, x = "world_model.dynamics", th.cat([s, action])
        if self.kind == "ssm":
            return h, self._belief(f"{name}.prior_head", x)
        h = self._gru(self.mlp(f"{name}.input", x), h)
        return h, self._belief(f"{name}.prior_head", h)

    def posterior(self, h: Tensor, prior: Belief, tokens: Tensor) -> Belief:
        known = [*prior, tokens] if self.kind == "ssm" else [h, tokens]
        return self._belief("world_model.dynamics.post_head", th.cat(known))

    def _sample(self, belief: Belief) -> Tensor:
        return belief.mean if self.kind == "rnn" else belief.mean + belief.std * self.normal

    def _action(self, row: Row, t: int) -> Tensor:
        if row.is_first(t):
            return th.zeros_like(th.as_tensor(row.records[0].action)).double()
        return th.as_tensor(row.action_before(t)).double()

    def filter(self, row: Row) -> list[Step]:
        h, s = th.zeros(self.deter).double(), th.zeros(self.stoch).double()
        steps = []
        for t, record in enumerate(row.records):
            if row.is_first(t):
                h, s = th.zeros_like(h), th.zeros_like(s)
            h, prior = self.prior(h, s, self._action(row, t))
            post = self.posterior(h, prior, self.tokens(record))
            s = self._sample(post)
            steps.append(Step(h, s, prior, post))
        return steps

    # ------------------------------------------------------------------ the losses

    def _divergence(self, step: Step) -> Tensor:
        if self.kind == "rnn":
            post, prior = step.post.mean, step.prior.mean
            return half_square(post.detach() - prior) + 0.2 * half_square(post - prior.detach())
        return self._free(kl(step.post, step.prior), "kl")

    def _free(self, nats: Tensor, name: str) -> Tensor:
        self.seen[name].append(float(nats.detach()))
        excess = nats - self.s["free_nats"]
        return excess if excess > 0 else th.zeros(()).double()

    def _overshooting(self, row: Row, steps: list[Step]) -> list[Tensor]:
        """For every step, all predictions of it from further back."""
        terms = []
        for t, step in enumerate(steps):
            total = th.zeros(()).double()
            for d in range(2, self.s["overshooting_distance"] + 1):
                if t - d < 0 or any(row.is_first(i) for i in range(t - d + 1, t + 1)):
                    continue
                h, s = steps[t - d].h, steps[t - d].s
                for i in range(t - d + 1, t + 1):
                    h, prior = self.prior(h, s, self._action(row, i))
                    s = self._sample(prior)
                fixed = Belief(step.post.mean.detach(), step.post.std.detach())
                if self.kind == "rnn":
                    total = total + half_square(prior.mean - fixed.mean)
                else:
                    total = total + self._free(kl(fixed, prior), "overshooting")
            terms.append(total / self.s["overshooting_distance"])
        return terms

    def losses(self, rows: list[Row]) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {}
        for row in rows:
            steps = self.filter(row)
            for record, step in zip(row.records, steps, strict=True):
                for key, loss in self.reconstruction(step.feat, record).items():
                    terms.setdefault(f"recon_{key}" if self.is_dict else "recon", []).append(loss)
                hidden = self.mlp("world_model.reward.body", step.feat)
                reward = linear(self.w, "world_model.reward.out", hidden)
                terms.setdefault("reward", []).append(half_square(reward - record.reward))
                terms.setdefault("kl", []).append(self._divergence(step))
            if self.s["overshooting_distance"] > 1:
                terms.setdefault("overshooting", []).extend(self._overshooting(row, steps))
        return {name: mean(parts) for name, parts in terms.items()}

    # ------------------------------------------------------------------ the update

    def update(
        self, rows: list[Row], uniform: float, normal: float
    ) -> tuple[dict[str, float], dict[str, Tensor | None]]:
        """
        Learn from one batch.

        :param rows: of the batch
        :param uniform: every random number between 0 and 1
        :param normal: every random number of a normal distribution
        :return: terms of the loss; gradients after clipping, by the parameter's name
        """
        self.uniform, self.normal = uniform, normal
        losses = self.losses(rows)
        scales = {
            "reward": self.s["reward_coef"],
            "kl": self.s["kl_coef"],
            "overshooting": self.s["overshooting_coef"],
        }
        total = sum((scales.get(k, 1.0) * v for k, v in losses.items()), th.zeros(()))
        computed = th.autograd.grad(total, list(self.w.values()), materialize_grads=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in computed))
        self.seen["norm"].append(norm)
        scale = min(1.0, self.s["max_grad_norm"] / norm)
        gradients: dict[str, Tensor | None] = {}
        self.n_updates += 1
        with th.no_grad():
            for (name, p), gradient in zip(self.w.items(), computed, strict=True):
                gradients[name] = gradient = scale * gradient
                self._adam(name, p, gradient)
        return {k: float(v.detach()) for k, v in losses.items()}, gradients

    def _adam(self, name: str, p: Tensor, gradient: Tensor) -> None:
        n = self.n_updates
        self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
        self.second[name] = 0.999 * self.second[name] + 0.001 * gradient**2
        size = (self.second[name] / (1 - 0.999**n)).sqrt() + 1e-4
        p -= self.s["learning_rate"] * self.first[name] / (1 - 0.9**n) / size
