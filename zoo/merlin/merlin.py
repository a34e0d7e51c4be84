"""MERLIN (Wayne et al., "Unsupervised predictive memory in a goal-directed agent")."""

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor
from typing_extensions import Unpack

from dreamzoo.common.arguments import Plumbing
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.common.rollout_window import RolloutWindow
from dreamzoo.common.settings import Rate
from dreamzoo.common.training import Losses, total
from dreamzoo.merlin.external_memory import ExternalMemoryAgent, retro_gamma
from dreamzoo.merlin.losses import (
    explained_variance,
    kl_loss,
    policy_loss,
    reconstruction_loss,
    return_loss,
)
from dreamzoo.merlin.policies import (
    CnnPolicy,
    MerlinPolicy,
    MlpPolicy,
    MultiInputPolicy,
    Unrolled,
)
from dreamzoo.nn.returns import window_advantages
from dreamzoo.nn.settings import Flag, Moving, Number, Setting


class MERLIN(HasWorldModel, ExternalMemoryAgent):
    """
    MERLIN: a predictor with an external memory, and a policy that reads it.

    The predictor learns to explain what it sees, and to predict the return, from a state z that it
    writes into its memory at every step; the policy learns by policy gradients from z and that
    memory, and changes neither. Environments are stepped together and windows are learned from as
    they come (the paper: asynchronous workers, each for itself).

    Paper: https://arxiv.org/abs/1803.10760; there is no code of the authors. Differences:
    docs/agents/merlin.md.

    Ablations of the paper are settings: ``policy_kwargs=dict(rows=0)`` (no memory),
    ``dict(retroactive=False)``, ``dict(stochastic=False)``, and ``return_gradients=False``.

    Example:
        >>> from dreamzoo import MERLIN
        >>> agent = MERLIN("MlpPolicy", "CartPole-v1", n_steps=16, seed=0).learn(32)
        >>> obs = agent.get_env().reset()
        >>> action, memory = agent.predict(obs)
        >>> action, memory = agent.predict(obs, memory, episode_start=[False])
        >>> agent.dream_env(2).reset().shape
        (2, 4)

    :param policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: of the predictor, a number or a schedule (3e-4)
    :param n_steps: steps T of every environment in a window (20)
    :param gamma: discount (0.96), also of what rows of the memory gather
    :param gae_lambda: mixes one-step and long advantages (0.9)
    :param ent_coef: weight of the policy's entropy (0.01). A number, or ``(from, to, steps)`` of
        all environments together
    :param vf_coef: weight of the return prediction's loss (10, figure 3e)
    :param actor_learning_rate: of the policy, a number or a schedule; None: as ``learning_rate``
    :param image_coef: weight of the loss of images, a sum over pixels; those below 36 pixels count
        as if they had 64x64 (1)
    :param vector_coef: weight of the loss of every other part of an observation (500). What has to
        be remembered must cost more when it is not in z (here 500 times half its squared error)
        than in the KL term when it is, some 5 nats a bit; else nothing of it reaches the memory
    :param action_coef: weight of the loss of the previous action (1). At 1, keeping it in z gains
        nothing; where it says *where* something was seen, as in a card game, it needs as much
        weight as a vector
    :param reward_coef: weight of the loss of the previous reward, for the same reason (50)
    :param kl_coef: weight of the KL term (1)
    :param cont_coef: weight of the loss of the head that predicts ends (1); the paper has none
    :param return_gradients: whether z learns to predict the return (figure 3g)
    :param max_grad_norm: the predictor's gradient is scaled down to this norm (10)
    :param actor_max_grad_norm: the policy's gradient is scaled down to this norm (1)
    :raises TypeError: for an argument that there is not
    :raises ValueError: for a setting that makes no sense, a space that is not supported, or another
        policy
    """

    policy: MerlinPolicy
    policy_base = MerlinPolicy
    policy_aliases: ClassVar = {p.__name__: p for p in (MlpPolicy, CnnPolicy, MultiInputPolicy)}
    action_spaces = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
    apart = ("policy", "entropy")
    settings: ClassVar[Mapping[str, Setting]] = {
        **ExternalMemoryAgent.settings,
        "actor_learning_rate": Rate(none=True),
        "vf_coef": Number(0),
        "image_coef": Number(0),
        "vector_coef": Number(0),
        "action_coef": Number(0),
        "reward_coef": Number(0),
        "kl_coef": Number(0),
        "cont_coef": Number(0),
        "return_gradients": Flag(),
        "actor_max_grad_norm": Number(0, above=True, infinite=True),
    }
    smallest: ClassVar[Mapping[str, Any]] = {
        "policy_kwargs": dict(size="debug"),
        "n_steps": 4,
    }

    def __init__(
        self,
        policy: str | type[MerlinPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 20,
        gamma: float = 0.96,
        gae_lambda: float = 0.9,
        ent_coef: Moving = 0.01,
        vf_coef: float = 10.0,
        actor_learning_rate: float | Schedule | None = None,
        image_coef: float = 1.0,
        vector_coef: float = 500.0,
        action_coef: float = 1.0,
        reward_coef: float = 50.0,
        kl_coef: float = 1.0,
        cont_coef: float = 1.0,
        return_gradients: bool = True,
        max_grad_norm: float = 10.0,
        actor_max_grad_norm: float = 1.0,
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
        self.actor_learning_rate = actor_learning_rate
        self.image_coef, self.vector_coef = image_coef, vector_coef
        self.action_coef, self.reward_coef = action_coef, reward_coef
        self.kl_coef, self.cont_coef = kl_coef, cont_coef
        self.return_gradients = return_gradients
        self.actor_max_grad_norm = actor_max_grad_norm
        if self._init_setup_model:
            self._setup_model()

    def _policy_kwargs(self) -> dict[str, Any]:
        return {"retro_gamma": retro_gamma(self.gamma), **super()._policy_kwargs()}

    # ------------------------------------------------------------------ the algorithm

    def losses(self, batch: RolloutWindow) -> Losses:
        """
        Compute every term of the loss on one window (eq. 7 and algorithm 1), with gradient.

        :param batch: (n, T)
        """
        policy = self.policy
        path = policy.unroll(batch, self._generator)
        terms = self._predictor_losses(path)
        distribution = policy.actor(path.z, path.context)
        z = path.z if self.return_gradients else path.z.detach()
        value = policy.judge(z, distribution)
        advantage = policy.judge_action(z, path.actions)
        rewards, ends = batch.rewards, (batch.bootstrap, batch.is_last)
        known = value.detach()
        returns = known + window_advantages(rewards, known, *ends, self.gamma, 1.0)
        advantages = window_advantages(rewards, known, *ends, self.gamma, self.gae_lambda)
        terms |= return_loss(value, advantage, returns)
        log_prob, entropy = distribution.log_prob_and_entropy(batch.actions)
        terms |= policy_loss(log_prob, entropy, advantages)
        metrics = {
            "kl": path.post.kl(path.prior),
            "prior_ent": path.prior.entropy(),
            "post_ent": path.post.entropy(),
            "return": returns,
            "explained_variance": explained_variance(known, returns),
            "advantage_abs": advantages.abs(),
            **self._negative_bound(terms),
            **path.reads,
        }
        return Losses(terms, {name: x.detach() for name, x in metrics.items()}, {})

    def _predictor_losses(self, path: Unrolled) -> dict[str, Tensor]:
        terms = reconstruction_loss(
            self.policy.world_model,
            path.seen_z,
            path.targets,
            path.prev_actions,
            path.prev_rewards,
            path.is_first,
            path.is_terminal,
            self.policy.action_codec,
        )
        if self.policy.stochastic:
            terms["kl"] = kl_loss(path.post, path.prior)
        return terms

    def _negative_bound(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add up eq. 7, the negative variational lower bound; nothing without a posterior."""
        if "kl" not in terms:
            return {}
        weighted = self._weigh(terms)
        return {"neg_vlb": total({k: x for k, x in weighted.items() if k not in self.apart})}

    def _loss_weights(self) -> dict[str, float | Tensor]:
        codec = self.policy.observation_codec
        weights: dict[str, float | Tensor] = {
            f"recon_{key.name}" if codec.is_dict else "recon": (
                self.image_coef if key.kind == "image" else self.vector_coef
            )
            for key in codec.keys
        }
        if self.policy.stochastic:
            weights["kl"] = self.kl_coef
        return weights | {
            "action": self.action_coef,
            "reward": self.reward_coef,
            "cont": self.cont_coef,
            "value": self.vf_coef,
            "advantage": self.vf_coef,
            "entropy": self._now("ent_coef"),
        }

    def _own_rates(self) -> dict[str, float]:
        if self.actor_learning_rate is None:
            return {}
        return {"actor_optimizer": self._rate("actor_learning_rate")}

    def _largest_norms(self) -> dict[str, float]:
        return {"actor_optimizer": self.actor_max_grad_norm}
