"""RL-MEM and RL-LSTM, the agents that MERLIN is compared with (Wayne et al., figure 1a and 1b)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import Plumbing
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.common.training import Losses
from dreamzoo.merlin.external_memory import ExternalMemoryAgent, retro_gamma
from dreamzoo.merlin.losses import explained_variance, policy_loss
from dreamzoo.merlin.rl_policies import CnnPolicy, MlpPolicy, MultiInputPolicy, RLMEMPolicy
from dreamzoo.nn.returns import window_advantages
from dreamzoo.nn.settings import Moving, Setting


class RLMEM(ExternalMemoryAgent):
    """
    RL-MEM: advantage actor-critic with an LSTM and an external memory.

    Reading and writing are MERLIN's. What is missing is the predictor: nothing but rewards teaches
    what to remember. Environments are stepped together (the paper: A3C).

    Paper: https://arxiv.org/abs/1803.10760, figure 1b. Differences: docs/agents/merlin.md.

    Example:
        >>> from dreamzoo import RLMEM
        >>> agent = RLMEM("MlpPolicy", "CartPole-v1", n_steps=16, seed=0).learn(32)
        >>> agent.predict(agent.get_env().reset())[0].shape
        (1,)

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of all networks, a number or a schedule (3e-4)
    :param n_steps: steps T of every environment in a window (20)
    :param gamma: discount (0.96), also of what rows of the memory gather
    :param gae_lambda: mixes one-step and long advantages (0.9)
    :param ent_coef: weight of the policy's entropy (0.01). A number, or ``(from, to, steps)`` of
        all environments together
    :param vf_coef: weight of the value's loss (0.5)
    :param max_grad_norm: the gradient is scaled down to this norm (1)
    :raises TypeError: for an argument that there is not
    :raises ValueError: for a setting that makes no sense, a space that is not supported, or another
        policy
    """

    policy: RLMEMPolicy
    policy_base: ClassVar[type[RLMEMPolicy]] = RLMEMPolicy
    policy_aliases: ClassVar = {p.__name__: p for p in (MlpPolicy, CnnPolicy, MultiInputPolicy)}
    action_spaces = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
    settings: ClassVar[Mapping[str, Setting]] = ExternalMemoryAgent.settings
    smallest: ClassVar[Mapping[str, Any]] = {"policy_kwargs": dict(size="debug"), "n_steps": 4}

    def __init__(
        self,
        policy: str | type[RLMEMPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 20,
        gamma: float = 0.96,
        gae_lambda: float = 0.9,
        ent_coef: Moving = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 1.0,
        **plumbing: Unpack[Plumbing],
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

    def _policy_kwargs(self) -> dict[str, Any]:
        return {"retro_gamma": retro_gamma(self.gamma), **super()._policy_kwargs()}

    def losses(self, batch: RolloutWindow) -> Losses:
        """
        Compute every term of the loss on one window, with gradient.

        :param batch: (n, T)
        """
        features, reads = self.policy.unroll(batch)
        value = self.policy.judge(features)
        known, ends = value.detach(), (batch.bootstrap, batch.is_last)
        returns = known + window_advantages(batch.rewards, known, *ends, self.gamma, 1.0)
        advantages = window_advantages(batch.rewards, known, *ends, self.gamma, self.gae_lambda)
        distribution = self.policy.distribution(features)
        log_prob, entropy = distribution.log_prob_and_entropy(batch.actions)
        terms = policy_loss(log_prob, entropy, advantages)
        terms["value"] = 0.5 * (value - returns).square().mean()
        metrics = {
            "return": returns,
            "explained_variance": explained_variance(known, returns),
            "advantage_abs": advantages.abs(),
            **reads,
        }
        return Losses(terms, metrics, {})

    def _loss_weights(self) -> dict[str, float | Tensor]:
        return {"entropy": self._now("ent_coef"), "value": self.vf_coef}


class RLLSTM(RLMEM):
    """
    RL-LSTM: :class:`RLMEM` whose memory has no rows, an actor-critic with an LSTM.

    Paper: https://arxiv.org/abs/1803.10760, figure 1a. Differences: docs/agents/merlin.md.

    Example:
        >>> from dreamzoo import RLLSTM
        >>> agent = RLLSTM("MlpPolicy", "CartPole-v1", n_steps=16, seed=0).learn(32)
        >>> agent.policy.memory_module is None
        True

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of all networks, a number or a schedule (3e-4)
    :param n_steps: steps T of every environment in a window (20)
    :param gamma: discount (0.96)
    :param gae_lambda: mixes one-step and long advantages (0.9)
    :param ent_coef: weight of the policy's entropy (0.01). A number, or ``(from, to, steps)`` of
        all environments together
    :param vf_coef: weight of the value's loss (0.5)
    :param max_grad_norm: the gradient is scaled down to this norm (1)
    :raises TypeError: for an argument that there is not
    :raises ValueError: for a setting that makes no sense, also for those of a memory in
        ``policy_kwargs``; for a space that is not supported, or another policy
    """

    def _policy_kwargs(self) -> dict[str, Any]:
        of_memory = {"retroactive", "retro_gamma", "mask_unwritten", "memory_write_grad"}
        of_memory |= {"rows"} if self.policy_kwargs.get("rows") else set()
        if given := {k: v for k, v in self.policy_kwargs.items() if k in of_memory}:
            raise ValueError(
                f"RLLSTM has no memory, and was given policy_kwargs={given}. RLMEM is the same "
                "agent with one."
            )
        return {**super()._policy_kwargs(), "rows": 0}
