"""
DreamerV3's update once more: one row and one step at a time, in float64, without the agent's code.

Written from the paper (arXiv:2301.04104v2) and its specification; only the convolutions are the
agent's own. Weights are read by their names.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor
from torch.func import functional_call

from dreamzoo import DreamerV3
from tests.oracles import Record, Row, Weights, double_weights, linear, mean

#: Two draws closer to the border between two classes than this might round to either side.
MARGIN = 1e-5


class State(NamedTuple):
    """
    State of the model at one step of one row.

    :param h: deterministic, (D,)
    :param z: one-hot, (S, C)
    """

    h: Tensor
    z: Tensor

    @property
    def feat(self) -> Tensor:
        return th.cat([self.h, self.z.flatten()])

    def detach(self) -> "State":
        return State(self.h.detach(), self.z.detach())


def symlog(x: Tensor) -> Tensor:
    return x.sign() * (1 + x.abs()).log()


def symexp(x: float) -> float:
    return math.copysign(math.exp(abs(x)) - 1, x)


def dense(w: Weights, name: str, x: Tensor) -> Tensor:
    """Linear, RMS norm, SiLU."""
    x = linear(w, f"{name}.linear", x)
    x = x / (x.square().mean() + 1e-4).sqrt() * w[f"{name}.norm.weight"]
    return x * th.sigmoid(x)


def mlp(w: Weights, name: str, x: Tensor) -> Tensor:
    layer = 0
    while f"{name}.{layer}.linear.weight" in w:
        x = dense(w, f"{name}.{layer}", x)
        layer += 1
    return x


def head(w: Weights, name: str, x: Tensor) -> Tensor:
    return linear(w, f"{name}.out", mlp(w, f"{name}.body", x))


def draw(probs: Sequence[float], uniform: float) -> int:
    """Take the first class whose cumulative probability exceeds a uniform number."""
    total = 0.0
    for index, p in enumerate(probs):
        total += p
        assert abs(total - uniform) > MARGIN, "take another seed"
        if total > uniform:
            return index
    return len(probs) - 1


def one_hot(index: int, classes: int) -> Tensor:
    return th.tensor([float(i == index) for i in range(classes)], dtype=th.float64)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(logits.log_softmax(0) * target).sum()


def binary_cross_entropy(logit: Tensor, target: Tensor | float) -> Tensor:
    p = th.sigmoid(logit)
    return -(target * p.log() + (1 - target) * (1 - p).log())


def entropy(probs: Tensor) -> Tensor:
    return -(probs * probs.log()).sum()


class Oracle:
    """
    Everything that an agent learns with, and its updates.

    :param agent: whose weights and spaces are copied
    :param settings: what its constructor was given; all that the update depends on must be there
    :param policy: its ``policy_kwargs``, ``optimizer_kwargs`` included
    """

    def __init__(self, agent: DreamerV3, settings: dict[str, Any], policy: dict[str, Any]) -> None:
        self.w = double_weights(agent.policy)
        self.slow = {k: v for k, v in self.w.items() if k.startswith("critic_target.")}
        for weight in self.slow.values():
            weight.requires_grad_(False)
        self.s, self.p, self.size = settings, policy, policy["size"]
        space, self.actions = agent.observation_space, agent.action_space
        self.is_dict = isinstance(space, spaces.Dict)
        self.space = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
        self.images = [k for k in sorted(self.space) if len(self.space[k].shape or ()) == 3]
        self.flat = [k for k in sorted(self.space) if k not in self.images]
        model: Any = agent.policy.world_model
        self.cnns = {
            f"world_model.{part}.cnns.0": deepcopy(getattr(model, part).cnns[0]).double()
            for part in ("encoder", "decoder")
            if self.images
        }
        normalizer = agent.policy.return_normalizer
        self.low, self.high = float(normalizer.low_value), float(normalizer.high_value)
        step = 20 / (self.size.bins // 2)
        middle = self.size.bins // 2
        self.bins = [symexp(step * (i - middle)) for i in range(self.size.bins)]
        self.n_updates = 0
        self.square = {k: th.zeros_like(v) for k, v in self.w.items() if k not in self.slow}
        self.momentum = deepcopy(self.square)
        self.uniform = self.normal = 0.0
        self.seen: dict[str, Any] = {}

    # ------------------------------------------------------------------ encoder and decoder

    def _cnn(self, name: str, *inputs: Tensor) -> Tensor:
        weights = {k[len(name) + 1 :]: v for k, v in self.w.items() if k.startswith(f"{name}.")}
        return functional_call(self.cnns[name], weights, tuple(x[None] for x in inputs))[0]

    def _parts(self, key: str) -> list[int]:
        """Sizes of the categoricals of an integer observation."""
        space: Any = self.space[key]
        return space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else [int(space.n)]

    def _input(self, key: str, obs: np.ndarray) -> Tensor:
        """What the network reads of one observation, and what the decoder should say."""
        space, x = self.space[key], th.as_tensor(obs)
        if key in self.images:
            return x.double() / 255
        if isinstance(space, spaces.Box):
            return symlog(x.double().flatten())
        if isinstance(space, spaces.MultiBinary):
            return x.double().flatten()
        index = (x.flatten() - th.as_tensor(np.asarray(space.start)).flatten()).tolist()  # type: ignore[attr-defined]
        return th.cat([one_hot(i, n) for i, n in zip(index, self._parts(key), strict=True)])

    def tokens(self, record: Record) -> Tensor:
        tokens = []
        if self.flat:
            flat = th.cat([self._input(k, record.obs[k]) for k in self.flat])
            tokens.append(mlp(self.w, "world_model.encoder.mlp", flat))
        if self.images:
            images = th.cat([self._input(k, record.obs[k]) for k in self.images])
            tokens.append(self._cnn("world_model.encoder.cnns.0", images))
        return th.cat(tokens)

    def reconstruction(self, state: State, record: Record) -> dict[str, Tensor]:
        """Loss of every key, summed over its dimensions."""
        losses = {}
        hidden = mlp(self.w, "world_model.decoder.mlp", state.feat) if self.flat else None
        for i, key in enumerate(self.flat):
            assert hidden is not None
            said = linear(self.w, f"world_model.decoder.outputs.{i}", hidden)
            target = self._input(key, record.obs[key])
            if isinstance(self.space[key], spaces.Box):
                losses[key] = (said - target).square().sum()
            elif isinstance(self.space[key], spaces.MultiBinary):
                losses[key] = binary_cross_entropy(said, target).sum()
            else:
                pairs = zip(
                    said.split(self._parts(key)), target.split(self._parts(key)), strict=True
                )
                losses[key] = sum((cross_entropy(*pair) for pair in pairs), th.zeros(()))
        if self.images:
            said = self._cnn("world_model.decoder.cnns.0", state.h, state.z.flatten())
            target = th.cat([self._input(k, record.obs[k]) for k in self.images])
            (key,) = self.images
            losses[key] = (said - target).square().sum()
        return losses

    # ------------------------------------------------------------------ dynamics

    def _encode(self, action: np.ndarray | Sequence[float]) -> Tensor:
        """One-hot vectors of integer actions, the numbers themselves of others."""
        if isinstance(self.actions, spaces.Box):
            return th.as_tensor(np.asarray(action)).double().flatten()
        sizes = self._action_sizes()
        return th.cat([one_hot(int(i), n) for i, n in zip(action, sizes, strict=True)])

    def _action_sizes(self) -> list[int]:
        space: Any = self.actions
        return [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.tolist()

    def core(self, state: State, action: Tensor) -> Tensor:
        """Next deterministic state (section 2.1 of the specification)."""
        w, name, blocks = self.w, "world_model.dynamics.core", self.size.blocks
        width = self.size.deter // blocks
        action = action / action.abs().clamp(min=1)
        shared = th.cat(
            [
                dense(w, f"{name}.deter_in", state.h),
                dense(w, f"{name}.stoch_in", state.z.flatten()),
                dense(w, f"{name}.action_in", action),
            ]
        )
        own = state.h.split(width)
        x = th.cat(
            [th.cat([own[k], shared]) @ w[f"{name}.hidden.weight"][k] for k in range(blocks)]
        )
        x = x + w[f"{name}.hidden.bias"]
        x = x / (x.square().mean() + 1e-4).sqrt() * w[f"{name}.hidden_norm.0.weight"]
        x = x * th.sigmoid(x)
        after = []
        for k, part in enumerate(x.split(width)):
            gates = part @ w[f"{name}.gates.weight"][k]
            gates = gates + w[f"{name}.gates.bias"][3 * width * k : 3 * width * (k + 1)]
            reset, candidate, update = gates.split(width)
            candidate = th.tanh(th.sigmoid(reset) * candidate)
            update = th.sigmoid(update - 1)
            after.append(update * candidate + (1 - update) * own[k])
        return th.cat(after)

    def _mixed(self, logits: Tensor) -> Tensor:
        probs = logits.view(self.size.stoch, self.size.classes).softmax(1)
        return (1 - self.p["unimix"]) * probs + self.p["unimix"] / self.size.classes

    def prior(self, h: Tensor) -> Tensor:
        name = "world_model.dynamics.prior"
        return self._mixed(linear(self.w, f"{name}_logits", mlp(self.w, f"{name}_hidden", h)))

    def posterior(self, h: Tensor, tokens: Tensor) -> Tensor:
        name = "world_model.dynamics.post"
        hidden = dense(self.w, f"{name}_hidden", th.cat([h, tokens]))
        return self._mixed(linear(self.w, f"{name}_logits", hidden))

    def _sample(self, probs: Tensor) -> Tensor:
        """Sample every latent; its gradient is that of the probabilities."""
        drawn = [one_hot(draw(p.tolist(), self.uniform), len(p)) for p in probs]
        return th.stack(drawn) + probs - probs.detach()

    def _kl(self, p: Tensor, q: Tensor) -> Tensor:
        """Summed over latents, then at least the free nats, below which there is no gradient."""
        kl = (p * (p.log() - q.log())).sum()
        self.seen.setdefault("kl", []).append(float(kl.detach()))
        return kl if kl > self.s["free_nats"] else th.tensor(self.s["free_nats"]).double()

    def filter(self, row: Row) -> list[tuple[State, Tensor]]:
        """States and posterior probabilities of all steps of a row."""
        nothing = State(
            th.zeros(self.size.deter).double(),
            th.zeros(self.size.stoch, self.size.classes).double(),
        )
        state, filtered = nothing, []
        if row.before is not None:
            deter, classes = row.before.latent
            z = [one_hot(int(i), self.size.classes) for i in classes]
            state = State(th.as_tensor(deter).double(), th.stack(z))
        for t, record in enumerate(row.records):
            if row.is_first(t):
                state = nothing
                action = th.zeros(
                    self.w["world_model.dynamics.core.action_in.linear.weight"].shape[1]
                )
            else:
                action = self._encode(row.action_before(t))
            h = self.core(state, action.double())
            probs = self.posterior(h, self.tokens(record))
            state = State(h, self._sample(probs))
            filtered.append((state, probs))
        return filtered

    # ------------------------------------------------------------------ heads

    def two_hot(self, value: float) -> Tensor:
        """Weights of the two bins around a value, in raw space."""
        out = th.zeros(len(self.bins), dtype=th.float64)
        above = next((i for i, b in enumerate(self.bins) if b > value), len(self.bins))
        if above in (0, len(self.bins)):
            out[min(above, len(self.bins) - 1)] = 1.0
            return out
        low, high = self.bins[above - 1], self.bins[above]
        out[above] = (value - low) / (high - low)
        out[above - 1] = 1 - out[above]
        return out

    def scalar(self, name: str, feat: Tensor) -> float:
        """Expectation of a two-hot head."""
        probs = head(self.w, name, feat).softmax(0).tolist()
        return sum(p * b for p, b in zip(probs, self.bins, strict=True))

    def policy(self, feat: Tensor) -> tuple[list[Any], Any, Tensor]:
        """
        Act in one state.

        :return: action in replay form, its log-probability, the policy's entropy
        """
        hidden = mlp(self.w, "actor.body", feat)
        raw = linear(self.w, "actor.mean", hidden)
        action: list[Any] = []
        log_prob, total = th.zeros(()).double(), th.zeros(()).double()
        if isinstance(self.actions, spaces.Box):
            means = th.tanh(raw)
            stds = 0.9 * th.sigmoid(linear(self.w, "actor.std", hidden) + 2) + 0.1
            for m, std in zip(means, stds, strict=True):
                action.append(float((m + std * self.normal).detach()))
                density = -0.5 * ((action[-1] - m) / std) ** 2
                log_prob = log_prob + density - std.log() - 0.5 * math.log(2 * math.pi)
                total = total + std.log() + 0.5 * math.log(2 * math.pi * math.e)
            return action, log_prob, total
        for logits in raw.split(self._action_sizes()):
            mix = self.p["actor_unimix"]
            probs = (1 - mix) * logits.softmax(0) + mix / len(logits)
            action.append(draw(probs.tolist(), self.uniform))
            log_prob, total = log_prob + probs[action[-1]].log(), total + entropy(probs)
        return action, log_prob, total

    def _critic_loss(self, feat: Tensor, target: float) -> Tensor:
        """Cross-entropy to a return and to the slow critic's scalar."""
        logits = head(self.w, "critic", feat)
        slow = self.scalar("critic_target", feat)
        pull = cross_entropy(logits, self.two_hot(slow))
        return cross_entropy(logits, self.two_hot(target)) + self.s["slow_coef"] * pull

    # ------------------------------------------------------------------ the losses

    def losses(self, rows: list[Row]) -> tuple[dict[str, Tensor], list[list[State]]]:
        """Every term of the loss, and the filtered states."""
        filtered = [self.filter(row) for row in rows]
        losses = self._world_model(rows, filtered)
        states = [[state for state, _ in row] for row in filtered]
        length = len(rows[0].records)
        first = max(length - (self.s["imagination_last"] or length), 0)
        returns = self._behavior(rows, states, first, losses)
        self._replay_critic(rows, states, first, returns, losses)
        return losses, states

    def _world_model(
        self, rows: list[Row], filtered: list[list[tuple[State, Tensor]]]
    ) -> dict[str, Tensor]:
        terms: dict[str, list[Tensor]] = {}
        for row, steps in zip(rows, filtered, strict=True):
            for record, (state, post) in zip(row.records, steps, strict=True):
                for key, loss in self.reconstruction(state, record).items():
                    terms.setdefault(f"recon_{key}" if self.is_dict else "recon", []).append(loss)
                reward = head(self.w, "world_model.reward", state.feat)
                cont = head(self.w, "world_model.cont", state.feat)[0]
                alive = 0.0 if record.terminal else self.s["gamma"]
                prior = self.prior(state.h)
                for name, loss in {
                    "reward": cross_entropy(reward, self.two_hot(record.reward)),
                    "cont": binary_cross_entropy(cont, alive),
                    "dyn": self._kl(post.detach(), prior),
                    "rep": self._kl(post, prior.detach()),
                }.items():
                    terms.setdefault(name, []).append(loss)
        return {name: mean(parts) for name, parts in terms.items()}

    def _behavior(
        self, rows: list[Row], states: list[list[State]], first: int, losses: dict[str, Tensor]
    ) -> dict[tuple[int, int], float]:
        """Imagine from every state of the last steps; return the return of each start."""
        horizon, lam = self.s["horizon"], self.s["gae_lambda"]
        dreams = {
            (b, t): self._imagine(states[b][t].detach())
            for b in range(len(rows))
            for t in range(first, len(states[b]))
        }
        returns, weights, values = {}, {}, {}
        with th.no_grad():
            for (b, t), (feats, _) in dreams.items():
                reward = [self.scalar("world_model.reward", f) for f in feats]
                cont = [float(th.sigmoid(head(self.w, "world_model.cont", f)[0])) for f in feats]
                value = [self.scalar("critic", f) for f in feats]
                if self.s["start_cont"] == "data":
                    cont[0] = 1.0 - rows[b].records[t].terminal
                values[b, t] = value
                returns[b, t] = [0.0] * horizon + [value[horizon]]
                for i in reversed(range(horizon)):
                    rest = (1 - lam) * value[i + 1] + lam * returns[b, t][i + 1]
                    returns[b, t][i] = reward[i + 1] + cont[i + 1] * rest
                weights[b, t] = [math.prod(cont[: i + 1]) for i in range(horizon)]
        flat = [x for dream in returns.values() for x in dream[:horizon]]
        self.low = 0.99 * self.low + 0.01 * float(np.percentile(flat, 5))
        self.high = 0.99 * self.high + 0.01 * float(np.percentile(flat, 95))
        scale = max(1.0, self.high - self.low)
        actor, critic = [], []
        for start, (feats, choices) in dreams.items():
            for i in range(horizon):
                _, log_prob, bonus = choices[i]
                advantage = (returns[start][i] - values[start][i]) / scale
                objective = log_prob * advantage + self.s["ent_coef"] * bonus
                actor.append(-weights[start][i] * objective)
                loss = self._critic_loss(feats[i], returns[start][i])
                critic.append(weights[start][i] * loss)
        losses["actor"], losses["critic"] = mean(actor), mean(critic)
        self.seen["return_scale"] = scale
        self.seen["weight"] = mean([x for w in weights.values() for x in w])
        self.seen["value"] = mean([x for v in values.values() for x in v])
        return {start: dream[0] for start, dream in returns.items()}

    def _imagine(self, state: State) -> tuple[list[Tensor], list[tuple[list[Any], Any, Tensor]]]:
        """Features of states 0..H, without gradient, and what was chosen in states 0..H-1."""
        feats, choices = [state.feat], []
        for _ in range(self.s["horizon"]):
            choices.append(self.policy(feats[-1]))
            with th.no_grad():
                h = self.core(state, self._encode(choices[-1][0]))
                state = State(h, self._sample(self.prior(h)))
            feats.append(state.feat)
        return feats, choices

    def _replay_critic(
        self,
        rows: list[Row],
        states: list[list[State]],
        first: int,
        boot: dict[tuple[int, int], float],
        losses: dict[str, Tensor],
    ) -> None:
        """The critic on real rewards; its gradient reaches the world model."""
        gamma, lam = self.s["gamma"], self.s["gae_lambda"]
        terms = []
        for b, row in enumerate(rows):
            last = len(row.records) - 1
            target = boot[b, last]
            for t in reversed(range(first, last)):
                following = row.records[t + 1]
                mix = 0.0 if row.is_last(t + 1) else lam
                live = 0.0 if following.terminal else gamma
                rest = (1 - mix) * boot[b, t + 1] + mix * target
                target = following.reward + live * rest
                loss = self._critic_loss(states[b][t].feat, target)
                terms.append(0.0 * loss if row.is_last(t) else loss)
        losses["replay_critic"] = mean(terms)

    # ------------------------------------------------------------------ the update

    def update(
        self, rows: list[Row], uniform: float, normal: float
    ) -> tuple[dict[str, float], dict[str, Tensor | None], list[list[State]]]:
        """
        Learn from one batch.

        :param rows: of the batch
        :param uniform: every random number between 0 and 1
        :param normal: every random number of a normal distribution
        :return: terms of the loss; gradients before clipping, by the parameter's name; the states
            filtered before the parameters changed
        """
        self.uniform, self.normal = uniform, normal
        losses, states = self.losses(rows)
        scales = {
            "dyn": self.s["dyn_coef"],
            "rep": self.s["rep_coef"],
            "replay_critic": self.s["replay_vf_coef"],
        }
        total = sum((scales.get(k, 1.0) * v for k, v in losses.items()), th.zeros(()))
        trained = [k for k in self.w if k not in self.slow]
        gradients: dict[str, Tensor | None] = dict.fromkeys(self.w)
        computed = th.autograd.grad(total, [self.w[k] for k in trained], materialize_grads=True)
        gradients.update(zip(trained, computed, strict=True))
        self.n_updates += 1
        with th.no_grad():
            for name in trained:
                self._step(name, gradients[name])
            tau = self.s["tau"]
            for name, slow in self.slow.items():
                online = self.w[name.replace("critic_target.", "critic.")]
                slow.copy_((1 - tau) * slow + tau * online)
        return {k: float(v.detach()) for k, v in losses.items()}, gradients, states

    def _step(self, name: str, gradient: Tensor | None) -> None:
        """Clip one tensor's gradient by its norm, then LaProp (section 6)."""
        assert gradient is not None
        o, n, p = self.p["optimizer_kwargs"], self.n_updates, self.w[name]
        beta1, beta2 = o["betas"]
        limit = o["agc"] * max(o["agc_floor"], float(p.norm()))
        clip = max(1.0, float(gradient.norm()) / limit)
        self.seen.setdefault("clipped", []).append(clip > 1)
        gradient = gradient / clip
        self.square[name] = beta2 * self.square[name] + (1 - beta2) * gradient**2
        unit = gradient / ((self.square[name] / (1 - beta2**n)).sqrt() + o["eps"])
        self.momentum[name] = beta1 * self.momentum[name] + (1 - beta1) * unit
        warm = min((n - 1) / o["warmup"], 1.0)
        p -= self.s["learning_rate"] * warm * self.momentum[name] / (1 - beta1**n)
