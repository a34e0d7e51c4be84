"""
The smallest on-policy agent that learns a world model: no replay, no RSSM, states within states.

Its model has an LSTM of two layers and an external memory, of which every step fills a row; its
policy remembers in a form of its own. Both are as unlike those of the Dreamers as they may be.
"""

from typing import Any, ClassVar, NamedTuple

import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.common.rollout_agent import RecurrentActorCriticPolicy, RolloutAgent
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.common.training import Losses
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.networks.heads import Actor
from dreamzoo.nn.observations import Observation, ObservationCodec
from dreamzoo.nn.process import in_own_precision
from dreamzoo.nn.returns import window_advantages
from dreamzoo.nn.state import map_parts, stack, where

CODE, UNITS, ROWS = 3, 8, 5


class Controller(NamedTuple):
    """What the policy's side of a state holds."""

    hidden: Tensor  # (..., UNITS)
    nothing: tuple[()] = ()


class Recalling(NamedTuple):
    """State of the model: tuples with names and without, numbers, flags and a counter."""

    age: Tensor  # observations of this episode, int64, (...): first of all, and no float
    layers: tuple[tuple[Tensor, Tensor], ...]  # h and c of every layer, (..., UNITS)
    read: Tensor  # (..., CODE)
    rows: Tensor  # (..., ROWS, CODE)
    is_written: Tensor  # bool (..., ROWS)
    controller: Controller
    expected: Tensor  # mean and logarithm of the standard deviation, (..., 2, CODE)
    code: Tensor  # (..., CODE)


class RecallingModel(LatentModel):
    """
    Predict codes from an LSTM that reads and writes a memory.

    :param codec: observation space
    :param action_dim: width of an encoded action
    """

    def __init__(self, codec: ObservationCodec, action_dim: int) -> None:
        super().__init__()
        self.codec, self.action_dim = codec, action_dim
        self.widths = {key.name: key.width for key in codec.keys}
        seen = sum(self.widths.values())
        inputs = [CODE + action_dim + CODE, UNITS]
        self.cells = nn.ModuleList(nn.Linear(i + UNITS, 4 * UNITS) for i in inputs)
        self.key = nn.Linear(UNITS, CODE)
        self.prior = nn.Linear(UNITS + CODE, 2 * CODE)
        self.posterior = nn.Linear(seen + UNITS + CODE + 2 * CODE, 2 * CODE)
        self.controller = nn.Linear(CODE + UNITS, UNITS)
        self.decoder = nn.Linear(CODE, seen)
        self.reward, self.cont = nn.Linear(CODE, 1), nn.Linear(CODE, 1)

    def initial(self, n: int) -> Recalling:
        like = self.key.weight
        numbers = like.new_zeros(n, UNITS)
        code = like.new_zeros(n, CODE)
        return Recalling(
            th.zeros(n, dtype=th.int64, device=like.device),
            ((numbers, numbers), (numbers, numbers)),
            code,
            like.new_zeros(n, ROWS, CODE),
            th.zeros(n, ROWS, dtype=th.bool, device=like.device),
            Controller(numbers),
            like.new_zeros(n, 2, CODE),
            code,
        )

    def _act_on(self, latent: Recalling, action: Tensor) -> Recalling:
        """Let the LSTM see what was done, read the memory, then write the code into it."""
        inputs, layers = th.cat([latent.code, action, latent.read], -1), []
        for cell, (h, c) in zip(self.cells, latent.layers, strict=True):
            i, f, g, o = cell(th.cat([inputs, h], -1)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            inputs = o.sigmoid() * c.tanh()
            layers.append((inputs, c))
        scores = (latent.rows * self.key(inputs)[:, None]).sum(-1)
        weights = scores.masked_fill(~latent.is_written, -1e9).softmax(-1) * latent.is_written
        read = (weights[..., None] * latent.rows).sum(1)
        place = th.arange(ROWS, device=action.device) == (latent.age % ROWS)[:, None]
        rows = th.where(place[..., None], latent.code.detach()[:, None], latent.rows)
        written = latent.is_written | place
        return latent._replace(layers=tuple(layers), read=read, rows=rows, is_written=written)

    def _expect(self, latent: Recalling) -> Recalling:
        known = th.cat([latent.layers[-1][0], latent.read], -1)
        return latent._replace(expected=self.prior(known).unflatten(-1, (2, CODE)).tanh())

    def _draw(
        self, latent: Recalling, belief: Tensor, generator: th.Generator | None, mode: bool
    ) -> Recalling:
        mean, log_std = belief.unbind(-2)
        noise = th.zeros_like(mean)
        if not mode:
            noise = th.randn(mean.shape, generator=generator, device=mean.device)
        code = mean + log_std.exp() * noise
        hidden = self.controller(th.cat([code.detach(), latent.controller.hidden], -1)).tanh()
        return latent._replace(code=code, controller=Controller(hidden), age=latent.age + 1)

    def infer(
        self,
        latent: Recalling,
        prev_action: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
        mode: bool = False,
    ) -> tuple[Recalling, Tensor]:
        nothing = self.initial(is_first.shape[0])  # a traced length is a number of its own
        before = where(is_first, nothing, self._act_on(latent, prev_action))
        before = self._expect(before)
        tokens = th.cat([*self.codec.encode(obs, 1).values()], -1)
        known = [tokens, before.layers[-1][0], before.read, before.expected.flatten(1)]
        found = self.posterior(th.cat(known, -1)).unflatten(-1, (2, CODE)).tanh()
        belief = before.expected + found
        return self._draw(before, belief, generator, mode), belief

    def observe(
        self,
        latent: Recalling,
        prev_action: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Recalling:
        return self.infer(latent, prev_action, obs, is_first, generator, mode)[0]

    def imagine_step(
        self,
        latent: Recalling,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> Recalling:
        after = self._expect(self._act_on(latent, action))
        return self._draw(after, after.expected, generator, mode)

    def first_state(self, n: int, generator: th.Generator | None = None) -> Recalling:
        """Nothing was done before the first observation: there is no action to let the LSTM see."""
        before = self._expect(self.initial(n))
        return self._draw(before, before.expected, generator, mode=False)

    def features(self, latent: Recalling) -> Tensor:
        return th.cat([latent.code, latent.controller.hidden], -1)

    def predict(self, latent: Recalling) -> tuple[Tensor, Tensor]:
        return self.reward(latent.code)[..., 0], self.cont(latent.code)[..., 0].sigmoid()

    def decode(self, latent: Recalling) -> Observation:
        parts = self.decoder(latent.code).split([*self.widths.values()], -1)
        return self.codec.decode(dict(zip(self.widths, parts, strict=True)))

    def entropy(self, latent: Recalling) -> Tensor:
        return (latent.expected[..., 1, :] + 1.419).sum(-1)


class Remembered(NamedTuple):
    """What the policy remembers: not what :class:`WorldModelPolicy` would."""

    done: Tensor  # the last action, in replay form, (n, dims)
    state: Recalling


class DreamingPolicy(WorldModelPolicy, RecurrentActorCriticPolicy):
    """Acts on the controller's part of the model's state."""

    world_model: RecallingModel

    def __init__(
        self, observation_space: Any, action_space: Any, lr_schedule: Any, **plumbing: Any
    ) -> None:
        super().__init__(observation_space, action_space, th.optim.Adam, None, **plumbing)
        self.world_model = RecallingModel(self.observation_codec, self.action_codec.dim)
        self.actor = Actor(CODE + UNITS, [], self.action_codec, outscale=0.1)
        self.critic = nn.Linear(CODE + UNITS, 1)
        self._set_optimizer(lr_schedule)

    def initial_state(self, n: int) -> Remembered:
        kind = th.int64 if self.action_codec.is_discrete else th.float32
        done = th.zeros(n, self.action_codec.replay_dim, dtype=kind, device=self.device)
        return Remembered(done, self.world_model.initial(n))

    @th.no_grad()
    @in_own_precision
    def act(
        self,
        obs: Observation,
        state: Remembered,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: Any = None,
    ) -> tuple[Tensor, Remembered]:
        led_here = self.action_codec.encode(state.done)
        latent = self.world_model.observe(
            state.state, led_here, obs, is_first, generator, mode=deterministic
        )
        action = (choose or self.choose)(latent, generator, deterministic)
        return action, Remembered(action, latent)

    def choose(
        self, latent: Recalling, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        distribution = self.actor(self.world_model.features(latent))
        return distribution.mode() if deterministic else distribution.sample(generator)

    def value(self, latent: Recalling) -> Tensor:
        return self.critic(self.world_model.features(latent))[:, 0]

    def predict_values(self, obs: Observation, state: Remembered, is_first: Tensor) -> Tensor:
        led_here = self.action_codec.encode(state.done)
        return self.value(self.world_model.observe(state.state, led_here, obs, is_first, mode=True))


class DreamingAgent(HasWorldModel, RolloutAgent):
    """Advantage actor-critic on the states of a model that it learns from the same windows."""

    policy: DreamingPolicy
    policy_base = DreamingPolicy
    policy_aliases: ClassVar = {"MlpPolicy": DreamingPolicy, "MultiInputPolicy": DreamingPolicy}
    action_spaces = (spaces.Discrete, spaces.Box)
    smallest: ClassVar = {"n_steps": 8}

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: Any = 3e-3,
        n_steps: int = 8,
        gamma: float = 0.95,
        gae_lambda: float = 0.9,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 1.0,
        **plumbing: Any,
    ) -> None:
        numbers = n_steps, gamma, gae_lambda, ent_coef, vf_coef, max_grad_norm
        super().__init__(policy, env, learning_rate, *numbers, **plumbing)
        if self._init_setup_model:
            self._setup_model()

    @property
    def world_model(self) -> RecallingModel:
        return self.policy.world_model

    def losses(self, batch: RolloutWindow) -> Losses:
        policy, model, arrived = self.policy, self.policy.world_model, batch.sequences()
        done, latent = batch.start
        states, beliefs = [], []
        for t in range(batch.rewards.shape[1]):
            obs, is_first = batch.step(t)
            led_here = policy.action_codec.encode(done)
            latent, belief = model.infer(latent, led_here, obs, is_first, self._generator)
            states.append(latent)
            beliefs.append(belief)
            done = batch.actions[:, t]
        path, post = stack(states, 1), th.stack(beliefs, 1)
        feat = map_parts(Tensor.detach, path)
        value = policy.critic(model.features(feat))[..., 0]
        advantage = window_advantages(
            batch.rewards,
            value.detach(),
            batch.bootstrap,
            batch.is_last,
            self.gamma,
            self.gae_lambda,
        )
        log_prob, entropy = policy.actor(model.features(feat)).log_prob_and_entropy(batch.actions)
        seen = th.cat([*self.policy.observation_codec.encode(batch.observations, 2).values()], -1)
        reward, cont = model.predict(path)
        goes_on = 1.0 - batch.is_last.float()
        spread = post[..., 1, :] - path.expected[..., 1, :]
        mean = (post[..., 0, :] - path.expected[..., 0, :]) / path.expected[..., 1, :].exp()
        terms = {
            "policy": -(log_prob * advantage).mean(),
            "entropy": -entropy.mean(),
            "value": (value - (value.detach() + advantage)).square().mean(),
            "image": (model.decoder(path.code) - seen).square().mean(),
            "reward": (reward - arrived.rewards).square().mean(),
            "cont": -(goes_on * (cont + 1e-6).log()).mean(),
            "kl": 0.5 * ((2 * spread).exp() + mean.square() - 1 - 2 * spread).sum(-1).mean(),
        }
        return Losses(terms, {"advantage": advantage}, {})

    def _loss_weights(self) -> dict[str, float]:
        return {"entropy": self.ent_coef, "value": self.vf_coef}
