"""
MERLIN's update once more: one row, one step, one head at a time, in float64, without its code.

Written from the paper (arXiv:1803.10760) and its specification; only convolutions are the agent's
own. A row is followed from its very first step, so that nothing of what a window begins with is
taken from the agent. Nothing is drawn: the noise of every z is the same number.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from tests.dreamers_oracle import (
    Normals,
    binary_cross_entropy,
    cross_entropy,
    half_square,
    means,
)
from tests.merlin.lives import Step
from tests.merlin.parts import Acted, Numbers, Obs, Reader
from tests.nn.memory.slow import SlowMemory
from tests.oracles import linear, mean

MODEL, MODEL_READER = "world_model.dynamics", "world_model.dynamics.reader"
OWN_READER = "actor.reader"


@dataclass(frozen=True)
class Known:
    """
    What is known after an observation of one row.

    :param z: drawn
    :param memory: z is not in it yet
    :param model: of the predictor
    :param own: of the policy
    """

    z: Tensor
    memory: SlowMemory | None
    model: Reader
    own: Reader

    def detach(self) -> "Known":
        memory = None if self.memory is None else self.memory.detach()
        return Known(self.z.detach(), memory, self.model.detach(), self.own.detach())


class Oracle(Numbers):
    """
    Everything that an agent learns with, and one update.

    Settings: the agent's, ``noise``, and of the policy ``rows``, ``retroactive``, ``stochastic``,
    ``mask_unwritten``, ``memory_write_grad``, ``heads``, ``policy_heads``, ``layers``.

    :param args: see :class:`Numbers`
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.norms: dict[str, float] = {}

    # ------------------------------------------------------------------ one step

    def nothing(self) -> Known:
        """What is known before an episode."""
        z = th.zeros(self.s["latents"]).double()
        model = self.made_reader(MODEL_READER, self.s["heads"])
        own = self.made_reader(OWN_READER, self.s["policy_heads"])
        return Known(z, self.made_memory(), model, own)

    def act_on(self, known: Known, action: np.ndarray) -> Known:
        """Let the predictor know an action: read, then write z."""
        x = th.cat([known.z, self.numbers_of(action)])
        model, weights = self.ask(MODEL_READER, x, known.model, known.memory, self.s["heads"])
        memory = None if known.memory is None else known.memory.copy()
        if memory is not None:
            memory.write(known.z if self.s["memory_write_grad"] else known.z.detach(), weights)
        return replace(known, model=model, memory=memory)

    def see(
        self, known: Known, obs: Obs, came: tuple[np.ndarray, float] | None, noise: float
    ) -> tuple[Known, Normals, Normals]:
        """
        See an observation, first the predictor and then the policy.

        :param known: after the last action
        :param obs: what is seen
        :param came: action and reward that led there; None: nothing did
        :param noise: of every latent
        :return: what is known; the posterior; the prior
        """
        expected = self.tanh_net(f"{MODEL}.prior", known.model.context)
        action = th.zeros_like(self.w["world_model.decoded_action.bias"]).detach()
        if came is not None:
            action = self.numbers_of(came[0])
        reward = th.tensor([0.0 if came is None else came[1]]).double()
        seen = th.cat(
            [self.token("world_model.encoder", obs), reward, action, known.model.context, expected]
        )
        believed = expected + self.tanh_net(f"{MODEL}.correction", seen)
        prior, post = (
            Normals(mean, (log_variance / 2).exp())
            for mean, log_variance in (x.chunk(2) for x in (expected, believed))
        )
        z = post.mean + noise * post.std if self.s["stochastic"] else post.mean
        memory = None if known.memory is None else known.memory.detach()
        own, _ = self.ask(OWN_READER, z.detach(), known.own, memory, self.s["policy_heads"])
        return Known(z, known.memory, known.model, own), post, prior

    # ------------------------------------------------------------------ heads

    def choose(self, known: Known, action: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probability of an action, entropy, and how V reads the policy."""
        known_all = th.cat([known.z.detach(), known.own.context])
        return self.policy(self.tanh_net("actor.body", known_all), action)

    def value(self, z: Tensor, policy: Tensor) -> Tensor:
        return self.tanh_net("value_head", th.cat([z, policy]))[0]

    def _beyond(self, known: Known, obs: Obs, came: tuple[np.ndarray, float]) -> float:
        """Value of what follows a step, of which nothing remains."""
        after, _, _ = self.see(self.act_on(known, came[0]), obs, came, noise=0.0)
        _, _, policy = self.choose(after, came[0])
        return float(self.value(after.z, policy).detach())

    def _explained(
        self,
        terms: dict[str, list[Tensor]],
        seen: tuple[Known, Normals, Normals],
        obs: Obs,
        came: tuple[np.ndarray, float] | None,
        is_terminal: bool,
    ) -> None:
        """Add what z says of all that was seen."""
        z, post, prior = seen[0].z, *seen[1:]
        said = self._said(z)
        for key in self.space:
            target, name = self.numbers(key, obs), f"recon_{key}" if self.is_dict else "recon"
            if key in self.images:
                p = th.sigmoid(said[key])
                loss = -(target * p.log() + (1 - target) * (1 - p).log()).sum()
            elif isinstance(self.space[key], spaces.Box):
                loss = half_square(said[key] - target)
            else:
                loss = cross_entropy(said[key], target)
            terms.setdefault(name, []).append(loss)
        action = reward = th.zeros(()).double()
        if came is not None:
            decoded = linear(self.w, "world_model.decoded_action", z)
            target = self.numbers_of(came[0])
            if isinstance(self.actions, spaces.Box):
                action = half_square(decoded - target)
            else:
                pairs = zip(decoded.split(self.sizes), target.split(self.sizes), strict=True)
                action = sum((cross_entropy(a, b) for a, b in pairs), action)
            reward = half_square(linear(self.w, "world_model.reward.out", z) - came[1])
        terms.setdefault("action", []).append(action)
        terms.setdefault("reward", []).append(reward)
        cont = linear(self.w, "world_model.cont", z)[0]
        terms.setdefault("cont", []).append(binary_cross_entropy(cont, 1.0 - is_terminal))
        if self.s["stochastic"]:
            terms.setdefault("kl", []).append(post.kl(prior))

    def _said(self, z: Tensor) -> dict[str, Tensor]:
        said = {}
        if self.images:
            (key,) = self.images
            said[key] = self.cnn("world_model.decoder.cnn", z)
        if self.flat:
            widths = [spaces.flatdim(self.space[k]) for k in self.flat]
            parts = linear(self.w, "world_model.decoder.flat", z).split(widths)
            said |= dict(zip(self.flat, parts, strict=True))
        return said

    # ------------------------------------------------------------------ a window

    def follow(
        self, life: list[Step], actions: list[np.ndarray], beginning: int, upcoming: Obs
    ) -> tuple[dict[str, list[Tensor]], list[Acted]]:
        """
        Follow one row from its first step.

        :param life: of the row
        :param actions: of every step, in replay form
        :param beginning: step with which the window begins that is learned from
        :param upcoming: what is seen after the last step
        :return: losses of all that the predictor sees in that window; its steps
        """
        terms: dict[str, list[Tensor]] = {}
        acted: list[Acted] = []
        known = self.nothing()
        for t, step in enumerate(life):
            came = None
            if step.is_first:
                known = self.nothing()
            else:
                came = actions[t - 1], life[t - 1].reward
                known = self.act_on(known.detach() if t == beginning else known, came[0])
            known, post, prior = self.see(known, step.obs, came, self.s["noise"])
            if t < beginning:
                continue
            self._explained(terms, (known, post, prior), step.obs, came, False)
            leads = actions[t], step.reward
            beyond = None
            if step.last is not None:
                end = self.see(self.act_on(known, actions[t]), step.last, leads, self.s["noise"])
                self._explained(terms, end, step.last, leads, step.is_terminal)
                beyond = 0.0 if step.is_terminal else self._beyond(known, step.last, leads)
            elif t == len(life) - 1:
                beyond = self._beyond(known, upcoming, leads)
            log_prob, entropy, policy = self.choose(known, actions[t])
            z = known.z if self.s["return_gradients"] else known.z.detach()
            value = self.value(z, policy)
            advantage = self.tanh_net("advantage_head", th.cat([z, self.numbers_of(actions[t])]))[0]
            acted.append(Acted(value, advantage, log_prob, entropy, step.reward, beyond))
        return terms, acted

    def losses(
        self,
        lives: list[list[Step]],
        actions: list[list[np.ndarray]],
        beginning: int,
        upcoming: list[Obs],
    ) -> dict[str, Tensor]:
        """Every term of the loss of one window, see :meth:`follow`."""
        terms: dict[str, list[Tensor]] = {}
        more: dict[str, list[Tensor]] = {x: [] for x in ("value", "advantage", "policy", "entropy")}
        for life, acts, after in zip(lives, actions, upcoming, strict=True):
            seen, acted = self.follow(life, acts, beginning, after)
            for name, parts in seen.items():
                terms.setdefault(name, []).extend(parts)
            for a, (total, advantage) in zip(acted, self.targets(acted), strict=True):
                more["value"].append(half_square(a.value - total))
                more["advantage"].append(half_square(a.value.detach() + a.advantage - total))
                more["policy"].append(-advantage * a.log_prob)
                more["entropy"].append(-a.entropy)
        return means(terms) | {name: mean(parts) for name, parts in more.items()}

    def weight(self, name: str) -> float:
        if name == "recon" or name.startswith("recon_"):
            is_image = name.removeprefix("recon").removeprefix("_") in self.images
            return self.s["image_coef" if is_image else "vector_coef"]
        names = {"value": "vf", "advantage": "vf", "entropy": "ent"}
        return 1.0 if name == "policy" else self.s[f"{names.get(name, name)}_coef"]

    def gradients(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute what predictor and policy learn, each of its own terms and clipped by itself."""
        found: dict[str, Tensor] = {}
        for group in ("", "actor_"):
            named = {k: v for k, v in losses.items() if (k in ("policy", "entropy")) == bool(group)}
            loss = sum((self.weight(k) * v for k, v in named.items()), th.zeros(()).double())
            names = [k for k in self.w if k.startswith("actor.") == bool(group)]
            parts = th.autograd.grad(
                loss, [self.w[k] for k in names], retain_graph=True, materialize_grads=True
            )
            self.norms[group] = math.sqrt(sum(float(g.square().sum()) for g in parts))
            scale = min(1.0, self.s[f"{group}max_grad_norm"] / self.norms[group])
            found |= {k: scale * g for k, g in zip(names, parts, strict=True)}
        return found

    def step(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights after the first step of Adam."""
        rates = {True: self.s["actor_learning_rate"], False: self.s["learning_rate"]}
        return {
            k: self.w[k].detach() - rates[k.startswith("actor.")] * g / (g.abs() + self.s["eps"])
            for k, g in gradients.items()
        }
