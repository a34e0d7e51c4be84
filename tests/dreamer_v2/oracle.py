"""
DreamerV2's update once more: one row and one step at a time, in float64, without the agent's code.

Written from the paper (arXiv:2010.02193) and its specification. All three losses are computed
before any network changes.
"""

import math
from typing import Any, NamedTuple

import torch as th
from torch import Tensor, nn

from tests.dreamers_oracle import (
    Classes,
    DreamerOracle,
    Normals,
    State,
    binary_cross_entropy,
    draw,
    elu,
    half_square,
    lambda_returns,
    means,
    one_hot,
    zero,
)
from tests.oracles import Record, Row, linear, mean, waiting_times


class Step(NamedTuple):
    """
    One filtered step of one row.

    :param state: state
    :param post: what it was drawn from
    :param prior: what had been expected
    """

    state: State
    post: Any
    prior: Any


class Found(NamedTuple):
    """
    Codes nearest to vectors.

    :param vectors: (S, W)
    :param places: of the codes, one for each latent
    """

    vectors: Tensor
    places: list[int]

    def detach(self) -> "Found":
        return Found(self.vectors.detach(), self.places)

    def kl(self, expected: Classes) -> Tensor:
        """Minus log of what was expected of these codes, summed over latents."""
        logs = [expected.probs(latent)[place].log() for latent, place in enumerate(self.places)]
        return -sum(logs, zero())


class Choice(NamedTuple):
    """
    What a policy did in one state.

    :param action: as the dynamics read it, with the gradient of the draw
    :param log_prob: of the action held fixed
    :param entropy: of the policy
    """

    action: Tensor
    log_prob: Tensor
    entropy: Tensor


class Oracle(DreamerOracle):
    """
    Everything that an agent learns with, and its updates.

    Settings: ``latents``, ``latents_kwargs``, ``stoch``, ``layer_norm``, ``tanh_rewards``,
    ``free_nats``, ``kl_coef``, ``kl_balance`` (None: plain), ``use_cont``, ``cont_coef``,
    ``image_gradients``, ``reward_gradients``, ``gamma``, ``gae_lambda``, ``horizon``, ``rho``,
    ``ent_coef``, ``target_update_interval``, ``tau``, ``max_grad_norm``, ``adam_eps``, ``shrink``.
    """

    def __init__(self, policy: nn.Module, *args: Any) -> None:
        super().__init__(policy, *args)
        #: Codes and how often they were found lately, of agents that have codes.
        self.book = {
            name.rpartition(".")[2]: buffer.double()
            for name, buffer in policy.named_buffers()
            if "codebook" in name
        }

    # ------------------------------------------------------------------ the model

    def _gru(self, x: Tensor, h: Tensor) -> Tensor:
        w, name = self.w, "world_model.dynamics.cell"
        parts = linear(w, f"{name}.linear", th.cat([x, h]))
        if self.s["layer_norm"]:
            parts = parts - parts.mean()
            parts = parts / (parts.square().mean() + 1e-3).sqrt()
            parts = parts * w[f"{name}.norm.weight"] + w[f"{name}.norm.bias"]
        after = []
        for i in range(len(h)):
            reset, candidate, update = (parts[k * len(h) + i] for k in range(3))
            candidate = th.tanh(th.sigmoid(reset) * candidate)
            update = th.sigmoid(update - 1)
            after.append(update * candidate + (1 - update) * h[i])
        return th.stack(after)

    def _belief(self, name: str, x: Tensor) -> Classes | Normals | Found:
        head = f"world_model.dynamics.{name}"
        raw = linear(self.w, f"{head}.2", elu(linear(self.w, f"{head}.0", x)))
        if self.s["latents"] == "vq" and name == "post_head":
            vectors = raw.view(self.s["stoch"], -1)
            return Found(
                vectors,
                [
                    min(range(len(codes)), key=lambda i: float((v - codes[i]).square().sum()))
                    for v, codes in zip(vectors.detach(), self.book["codes"], strict=True)
                ],
            )
        if self.s["latents"] == "gaussian":
            center, std = raw.chunk(2)
            return Normals(center, 2 / (1 + (-std / 2).exp()) + 0.1)
        return Classes(raw.view(self.s["stoch"], -1))

    def _sample(self, belief: Classes | Normals | Found) -> Tensor:
        if isinstance(belief, Normals):
            return belief.mean + belief.std * self.normal
        latents, kind = range(self.s["stoch"]), self.s["latents"]
        if isinstance(belief, Found):
            codes = [self.book["codes"][s, belief.places[s]] for s in latents]
            return th.cat(codes) + belief.vectors.flatten() - belief.vectors.flatten().detach()
        if "gumbel" in kind:
            return th.cat([self._relaxed(belief.logits[s], kind == "st_gumbel") for s in latents])
        drawn = [draw(belief.probs(latent), self.uniform) for latent in latents]
        if kind == "vq":
            drawn = [x @ codes for x, codes in zip(drawn, self.book["codes"], strict=True)]
        return th.cat(drawn)

    def _relaxed(self, logits: Tensor, is_rounded: bool) -> Tensor:
        noise = -waiting_times(len(logits)).double().log()
        scaled = ((logits + noise) / self.s["latents_kwargs"]["temperature"]).exp()
        soft = scaled / scaled.sum()
        if not is_rounded:
            return soft
        return one_hot(int(soft.argmax()), len(soft)) + soft - soft.detach()

    def _advance(self, state: State, action: Tensor) -> tuple[Tensor, Any]:
        x = th.cat([state.z, action])
        x = elu(linear(self.w, "world_model.dynamics.input.0", x))
        h = self._gru(x, state.h)
        return h, self._belief("prior_head", h)

    def _nothing(self) -> State:
        deter = self.w["world_model.dynamics.cell.linear.bias"].shape[0] // 3
        outputs = self.w["world_model.dynamics.prior_head.2.bias"].shape[0]
        flat = {
            "gaussian": self.s["stoch"],
            "vq": self.s["stoch"] * self.s["latents_kwargs"].get("code_dim", 0),
        }.get(self.s["latents"], outputs)
        return State(th.zeros(deter).double(), th.zeros(flat).double())

    def filter(self, row: Row) -> list[Step]:
        state, steps = self._nothing(), []
        for t, record in enumerate(row.records):
            if row.is_first(t):
                state = self._nothing()
            h, prior = self._advance(state, self.action_before(row, t))
            post = self._belief("post_head", th.cat([h, self.tokens(record)]))
            state = State(h, self._sample(post))
            steps.append(Step(state, post, prior))
        return steps

    def _target_reward(self, record: Record) -> float:
        return math.tanh(record.reward) if self.s["tanh_rewards"] else record.reward

    def _world_model_losses(self, rows: list[Row], filtered: list[list[Step]]) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {}
        to_prior, to_post = [], []
        for row, steps in zip(rows, filtered, strict=True):
            for record, (state, post, prior) in zip(row.records, steps, strict=True):
                feat = state.feat
                seen = feat if self.s["image_gradients"] else feat.detach()
                for key, loss in self.reconstruction(seen, record).items():
                    terms.setdefault(f"recon_{key}" if self.is_dict else "recon", []).append(loss)
                paid = feat if self.s["reward_gradients"] else feat.detach()
                reward = self.head("world_model.reward", paid)
                error = half_square(reward - self._target_reward(record))
                terms.setdefault("reward", []).append(error)
                if self.s["use_cont"]:
                    alive = 0.0 if record.terminal else self.s["gamma"]
                    logit = self.head("world_model.cont", feat)[0]
                    terms.setdefault("cont", []).append(binary_cross_entropy(logit, alive))
                if self.s["kl_balance"] is None:
                    to_prior.append(post.kl(prior))
                else:
                    to_prior.append(post.detach().kl(prior))
                    to_post.append(post.kl(prior.detach()))
        losses, balance = means(terms), self.s["kl_balance"]
        losses["kl"] = self._free(mean(to_prior))
        if balance is not None:
            losses["kl"] = balance * losses["kl"] + (1 - balance) * self._free(mean(to_post))
        return losses

    def _free(self, nats: Tensor) -> Tensor:
        """At least the free nats, below which there is no gradient."""
        return nats if nats > self.s["free_nats"] else zero() + self.s["free_nats"]

    # ------------------------------------------------------------------ the behavior

    def policy(self, feat: Tensor) -> Choice:
        raw = self.head("actor", feat)
        if not self.is_continuous:
            return Choice(*self.one_hot_policy(raw))
        action, log_prob, entropy = [], zero(), zero()
        unit = th.distributions.Normal(zero(), zero() + 1)
        for center, spread in zip(*raw.chunk(2), strict=True):
            center, spread = th.tanh(center), 2 / (1 + (-spread / 2).exp()) + 0.1
            low, high = (-1 - center) / spread, (1 - center) / spread
            inside = unit.cdf(high) - unit.cdf(low)
            drawn = center + spread * unit.icdf(unit.cdf(low) + self.uniform * inside)
            action.append(drawn)
            scaled = (drawn.detach() - center) / spread
            log_prob = log_prob + unit.log_prob(scaled) - spread.log() - inside.log()
            edges = low * unit.log_prob(low).exp() - high * unit.log_prob(high).exp()
            whole = (math.sqrt(2 * math.pi * math.e) * spread * inside).log()
            entropy = entropy + whole + edges / (2 * inside)
        return Choice(th.stack(action), log_prob, entropy)

    def _imagine(self, state: State) -> tuple[list[Tensor], list[Choice]]:
        """Features of states 0..H, and what was chosen in states 0..H-1."""
        feats, choices = [state.feat], []
        for _ in range(self.s["horizon"]):
            choices.append(self.policy(feats[-1].detach()))
            h, prior = self._advance(state, choices[-1].action)
            state = State(h, self._sample(prior))
            feats.append(state.feat)
        return feats, choices

    def _discounts(self, feats: list[Tensor], record: Record) -> list[Tensor]:
        gamma = self.s["gamma"]
        if not self.s["use_cont"]:
            return [zero() + gamma for _ in feats]
        discount = [th.sigmoid(self.head("world_model.cont", f)[0]) for f in feats]
        discount[0] = zero() + (0.0 if record.terminal else gamma)  # what really happened
        return discount

    def _behavior_losses(self, starts: list[tuple[State, Record]]) -> tuple[Tensor, Tensor]:
        actor, critic, horizon = [], [], self.s["horizon"]
        for start, record in starts:
            feats, choices = self._imagine(start.detach())
            reward = [self.head("world_model.reward", f)[0] for f in feats]
            slow = [self.head("critic_target", f)[0] for f in feats]
            discount = self._discounts(feats, record)
            target = lambda_returns(reward, discount, slow, self.s["gae_lambda"])
            weight = [
                math.prod(float(d.detach()) for d in discount[:k]) for k in range(horizon + 1)
            ]
            for k in range(horizon):
                predicted = self.head("critic", feats[k].detach())[0]
                critic.append(weight[k] * half_square(predicted - target[k].detach()))
            for k in range(horizon - 1):
                # The action chosen in state k leads to state k + 1, whose return it is judged by.
                advantage = (target[k + 1] - slow[k]).detach()
                objective = self.s["rho"] * choices[k].log_prob * advantage
                objective = objective + (1 - self.s["rho"]) * target[k + 1]
                objective = objective + self.s["ent_coef"] * choices[k].entropy
                actor.append(-weight[k] * objective)
        return mean(actor), mean(critic)

    # ------------------------------------------------------------------ the update

    def losses(self, rows: list[Row]) -> dict[str, Tensor]:
        """Every term of the loss, on the weights as they are."""
        filtered = [self.filter(row) for row in rows]
        losses = self._world_model_losses(rows, filtered)
        starts = [
            (step.state, record)
            for row, steps in zip(rows, filtered, strict=True)
            for record, step in zip(row.records, steps, strict=True)
        ]
        losses["actor"], losses["critic"] = self._behavior_losses(starts)
        if self.s["latents"] == "vq":
            losses["commitment"] = self._commitment([s.post for steps in filtered for s in steps])
        return losses

    def _commitment(self, found: list[Found]) -> Tensor:
        """How far vectors are from their codes; these then follow the vectors, none is dead."""
        codes, shares = (self.book[name].clone() for name in ("codes", "shares"))
        decay, total = self.s["latents_kwargs"]["decay"], zero()
        for s in range(len(codes)):
            for post in found:
                code = self.book["codes"][s, post.places[s]]
                total = total + (post.vectors[s] - code).square().sum()
        for s in range(len(codes)):
            for c in range(len(codes[s])):
                near = [post.vectors[s].detach() for post in found if post.places[s] == c]
                share = decay * shares[s, c] + (1 - decay) * len(near) / len(found)
                if share > 0:
                    kept = decay * shares[s, c] * codes[s, c]
                    codes[s, c] = (kept + (1 - decay) * sum(near, zero()) / len(found)) / share
                shares[s, c] = share
        self.book = {"codes": codes, "shares": shares}
        return total / (len(found) * len(codes))

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
        scales["commitment"] = self.s["latents_kwargs"].get("commitment", 0.0)
        model = [scales.get(k, 1.0) * v for k, v in losses.items() if k not in ("actor", "critic")]
        groups = {
            "world_model": sum(model, th.zeros(())),
            "actor": losses["actor"],
            "critic": losses["critic"],
        }
        gradients = self.step(groups, self.s["shrink"])
        if (self.n_updates - 1) % self.s["target_update_interval"] == 0:
            with th.no_grad():
                for name, slow in self.w.items():
                    if name.startswith("critic_target."):
                        online = self.w[name.replace("critic_target.", "critic.")]
                        slow.copy_((1 - self.s["tau"]) * slow + self.s["tau"] * online)
        return {k: float(v.detach()) for k, v in losses.items()}, gradients
