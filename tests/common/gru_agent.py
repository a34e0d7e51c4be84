"""The smallest on-policy agent with a memory, and a task that needs one."""

from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.common.rollout_agent import RecurrentActorCriticPolicy, RolloutAgent
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.common.training import Losses
from dreamzoo.nn.networks.heads import Actor
from dreamzoo.nn.process import in_own_precision
from dreamzoo.nn.returns import window_advantages


class Cue(gym.Env):
    """One of two cues is shown at first, zeros after it; the last action has to name the cue."""

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, delay: int = 3, time_limit: bool = False) -> None:
        self.delay, self.time_limit = delay, time_limit

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.cue, self.step_count = int(self.np_random.integers(2)), 0
        return np.eye(2, dtype=np.float32)[self.cue], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.step_count += 1
        over = self.step_count > self.delay
        reward = float(over and int(action) == self.cue)
        limited = self.time_limit and over
        return np.zeros(2, np.float32), reward, over and not limited, limited, {}


class Memory(NamedTuple):
    hidden: Tensor


class GRUPolicy(RecurrentActorCriticPolicy):
    """A GRU, an actor and a value; two optimizers, as some papers have."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Any,
        units: int = 16,
        **plumbing: Any,
    ) -> None:
        super().__init__(observation_space, action_space, th.optim.Adam, None, **plumbing)
        width = sum(key.width for key in self.observation_codec.keys)
        self.cell = nn.GRUCell(width, units)
        self.actor = Actor(units, [], self.action_codec, outscale=0.1)
        self.critic = nn.Linear(units, 1)
        behavior = [*self.cell.parameters(), *self.actor.parameters()]
        self.actor_optimizer = th.optim.Adam(behavior, lr=lr_schedule(1))
        self.critic_optimizer = th.optim.Adam(self.critic.parameters(), lr=lr_schedule(1))

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        return {
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }

    def initial_state(self, n: int) -> Memory:
        return Memory(self._place.new_zeros(n, self.cell.hidden_size))

    def remember(self, obs: Any, state: Memory, is_first: Tensor) -> Memory:
        inputs = th.cat([*self.observation_codec.encode(obs, 1).values()], dim=-1)
        return Memory(self.cell(inputs, state.hidden * ~is_first[:, None]))

    @th.no_grad()
    @in_own_precision
    def act(
        self,
        obs: Any,
        state: Memory,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        deterministic: bool = False,
        choose: Any = None,
    ) -> tuple[Tensor, Memory]:
        after = self.remember(obs, state, is_first)
        return (choose or self.choose)(after, generator, deterministic), after

    def choose(
        self, latent: Memory, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        distribution = self.actor(latent.hidden)
        return distribution.mode() if deterministic else distribution.sample(generator)

    def predict_values(self, obs: Any, state: Memory, is_first: Tensor) -> Tensor:
        return self.critic(self.remember(obs, state, is_first).hidden)[:, 0]


class GRUAgent(RolloutAgent):
    """Advantage actor-critic with a GRU."""

    policy: GRUPolicy
    policy_base = GRUPolicy
    policy_aliases: ClassVar = {"MlpPolicy": GRUPolicy, "MultiInputPolicy": GRUPolicy}
    action_spaces = (spaces.Discrete, spaces.Box)

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: Any = 1e-2,
        n_steps: int = 8,
        gamma: float = 0.95,
        gae_lambda: float = 0.9,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 1.0,
        **plumbing: Any,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            gamma,
            gae_lambda,
            ent_coef,
            vf_coef,
            max_grad_norm,
            **plumbing,
        )
        if self._init_setup_model:
            self._setup_model()

    def unroll(self, window: RolloutWindow) -> Tensor:
        """Go through a window again, with a gradient: hidden states (n, T, H)."""
        observations: Any = window.observations
        state, states = window.start, []
        for t in range(window.rewards.shape[1]):
            at = slice(None), t
            seen = (
                {key: x[at] for key, x in observations.items()}
                if isinstance(observations, dict)
                else observations[at]
            )
            state = self.policy.remember(seen, state, window.is_first[at])
            states.append(state.hidden)
        return th.stack(states, dim=1)

    def losses(self, batch: RolloutWindow) -> Losses:
        hidden = self.unroll(batch)
        value = self.policy.critic(hidden)[..., 0]
        advantage = window_advantages(
            batch.rewards,
            value.detach(),
            batch.bootstrap,
            batch.is_last,
            self.gamma,
            self.gae_lambda,
        )
        log_prob, entropy = self.policy.actor(hidden).log_prob_and_entropy(batch.actions)
        terms = {
            "policy": -(log_prob * advantage).mean(),
            "entropy": -entropy.mean(),
            "value": (value - (value.detach() + advantage)).square().mean(),
        }
        return Losses(terms, {"advantage": advantage}, {})

    def _loss_weights(self) -> dict[str, float]:
        return {"entropy": self.ent_coef, "value": self.vf_coef}
