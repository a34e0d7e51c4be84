"""
Dreamer V1's update once more: one row and one step at a time, in float64, without the agent's code.

Written from the paper (arXiv:1912.01603) and its specification. All three losses are computed
before any network changes.
"""

import math

import torch as th
from torch import Tensor

from tests.dreamers_oracle import (
    DreamerOracle,
    Normals,
    State,
    binary_cross_entropy,
    elu,
    half_square,
    lambda_returns,
    means,
)
from tests.oracles import Row, linear, mean


class Oracle(DreamerOracle):
    """
    Everything that an agent learns with, and its updates.

    Settings: ``free_nats``, ``kl_coef``, ``use_cont``, ``cont_coef``, ``gamma``, ``gae_lambda``,
    ``horizon``, ``max_grad_norm``, ``adam_eps``.
    """

    # ------------------------------------------------------------------ the model

    def _belief(self, name: str, x: Tensor) -> Normals:
        """One hidden layer, then two linear ones: mean, and what the deviation is made of."""
        hidden = self.mlp(f"{name}.hidden", x)
        raw = linear(self.w, f"{name}.std", hidden)
        return Normals(linear(self.w, f"{name}.mean", hidden), (1 + raw.exp()).log() + 0.1)

    def _gru(self, x: Tensor, h: Tensor) -> Tensor:
        w, name = self.w, "world_model.dynamics.cell"
        from_x = (w[f"{name}.weight_ih"] @ x + w[f"{name}.bias_ih"]).chunk(3)
        from_h = (w[f"{name}.weight_hh"] @ h + w[f"{name}.bias_hh"]).chunk(3)
        reset = th.sigmoid(from_x[0] + from_h[0])
        keep = th.sigmoid(from_x[1] + from_h[1])
        return keep * h + (1 - keep) * th.tanh(from_x[2] + reset * from_h[2])

    def _advance(self, state: State, action: Tensor) -> tuple[Tensor, Normals]:
        name = "world_model.dynamics"
        x = elu(linear(self.w, f"{name}.input.0", th.cat([state.z, action])))
        h = self._gru(x, state.h)
        return h, self._belief(f"{name}.prior_head", h)

    def _sample(self, belief: Normals) -> Tensor:
        return belief.mean + belief.std * self.normal

    def filter(self, row: Row) -> list[tuple[State, Normals, Normals]]:
        """States of all steps, what they were drawn from, and what had been expected."""
        deter = self.w["world_model.dynamics.cell.weight_hh"].shape[1]
        stoch = self.w["world_model.dynamics.prior_head.mean.bias"].shape[0]
        nothing = State(th.zeros(deter).double(), th.zeros(stoch).double())
        state, steps = nothing, []
        for t, record in enumerate(row.records):
            if row.is_first(t):
                state = nothing
            h, prior = self._advance(state, self.action_before(row, t))
            known = th.cat([h, self.tokens(record)])
            post = self._belief("world_model.dynamics.post_head", known)
            state = State(h, self._sample(post))
            steps.append((state, post, prior))
        return steps

    def _world_model_losses(
        self, rows: list[Row], filtered: list[list[tuple[State, Normals, Normals]]]
    ) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {}
        for row, steps in zip(rows, filtered, strict=True):
            for record, (state, post, prior) in zip(row.records, steps, strict=True):
                for key, loss in self.reconstruction(state.feat, record).items():
                    terms.setdefault(f"recon_{key}" if self.is_dict else "recon", []).append(loss)
                reward = self.head("world_model.reward", state.feat)
                terms.setdefault("reward", []).append(half_square(reward - record.reward))
                terms.setdefault("kl", []).append(post.kl(prior))
                if self.s["use_cont"]:
                    logit = self.head("world_model.cont", state.feat)[0]
                    alive = 0.0 if record.terminal else self.s["gamma"]
                    terms.setdefault("cont", []).append(binary_cross_entropy(logit, alive))
        losses = means(terms)
        # Clipped after the mean over the whole batch.
        if losses["kl"] < self.s["free_nats"]:
            losses["kl"] = th.tensor(self.s["free_nats"]).double()
        return losses

    # ------------------------------------------------------------------ the behavior

    def policy(self, feat: Tensor) -> Tensor:
        raw = self.head("actor", feat)
        if not self.is_continuous:
            return self.one_hot_policy(raw)[0]
        mean, std = raw.chunk(2)
        std = (1 + (std + math.log(math.exp(5) - 1)).exp()).log() + 1e-4
        return th.tanh(5 * th.tanh(mean / 5) + std * self.normal)

    def _imagine(self, state: State) -> list[Tensor]:
        """Features of the states after the start."""
        feats = []
        for _ in range(self.s["horizon"]):
            action = self.policy(state.feat.detach())
            h, prior = self._advance(state, action)
            state = State(h, self._sample(prior))
            feats.append(state.feat)
        return feats

    def _behavior_losses(self, starts: list[tuple[State, bool]]) -> tuple[Tensor, Tensor]:
        """Nothing counts that is imagined after the end of an episode."""
        actor, critic = [], []
        for start, ended in starts:
            feats = self._imagine(start.detach())
            reward = [self.head("world_model.reward", f)[0] for f in feats]
            value = [self.head("critic", f)[0] for f in feats]
            discount: list[Tensor] = [th.tensor(self.s["gamma"]).double() for _ in feats]
            if self.s["use_cont"]:
                discount = [th.sigmoid(self.head("world_model.cont", f)[0]) for f in feats]
            returns = lambda_returns(reward, discount, value, self.s["gae_lambda"])
            for k in range(len(feats) - 1):
                weight = 0.0 if ended else math.prod(float(d.detach()) for d in discount[:k])
                actor.append(-weight * returns[k])
                predicted = self.head("critic", feats[k].detach())[0]
                critic.append(weight * half_square(predicted - returns[k].detach()))
        return mean(actor), mean(critic)

    # ------------------------------------------------------------------ the update

    def losses(self, rows: list[Row]) -> dict[str, Tensor]:
        """Every term of the loss, on the weights as they are."""
        filtered = [self.filter(row) for row in rows]
        losses = self._world_model_losses(rows, filtered)
        starts = [
            (state, record.terminal)
            for row, steps in zip(rows, filtered, strict=True)
            for record, (state, _, _) in zip(row.records, steps, strict=True)
        ]
        losses["actor"], losses["critic"] = self._behavior_losses(starts)
        return losses

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
        scales = {"kl": self.s["kl_coef"], "cont": self.s["cont_coef"]}
        model = [scales.get(k, 1.0) * v for k, v in losses.items() if k not in ("actor", "critic")]
        gradients = self.step(
            {
                "world_model": sum(model, th.zeros(())),
                "actor": losses["actor"],
                "critic": losses["critic"],
            }
        )
        return {k: float(v.detach()) for k, v in losses.items()}, gradients
