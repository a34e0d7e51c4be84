"""Acting by planning in a learned model."""

from typing import Any

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.nn.fast import graphs
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.state import State, first_part, map_parts
from dreamzoo.planning.cem import CEM


class ModelRollout:
    """
    Rate action sequences by the rewards that a learned model predicts, undiscounted.

    Where the model predicts that episodes end, a reward counts with the probability that the
    episode lasts until there.

    Example:
        >>> import torch
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.planning import CEM, ModelRollout
        >>> small = dict(policy_kwargs=dict(size="debug"), device="cpu")
        >>> model = DreamerV3("MlpPolicy", "Pendulum-v1", **small)
        >>> world_model = model.policy.world_model
        >>> rollout = ModelRollout(world_model, world_model.initial(2))  # from two states
        >>> rollout(torch.zeros(2, 10, 5, 1)).shape  # 10 candidates of 5 actions in each
        torch.Size([2, 10])
        >>> plan = CEM(horizon=5, candidates=10, elites=2).plan(rollout, action_dim=1, n=2)

    :param world_model: the model
    :param latent: states of N environments, (N, ...)
    :param generator: source of the latents' randomness
    :param mode: follow the most likely latents instead of samples
    """

    def __init__(
        self,
        world_model: LatentModel,
        latent: State,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> None:
        self.world_model = world_model
        self.latent, self.generator, self.mode = latent, generator, mode

    @th.no_grad()
    def __call__(self, actions: Tensor) -> Tensor:
        """Rate encoded actions (N, J, H, A), see :class:`dreamzoo.planning.Rollout`."""
        n, candidates = actions.shape[:2]
        state = map_parts(lambda part: part.repeat_interleave(candidates, dim=0), self.latent)
        total = actions.new_zeros(n * candidates)
        alive = th.ones_like(total)
        # Step by step: of thousands of candidates one state is enough to remember.
        for action in actions.flatten(0, 1).unbind(1):  # (N * J, A)
            after = self.world_model.imagine_step(state, action, self.generator, mode=self.mode)
            reward, cont = self.world_model.predict(after)
            total += alive * reward
            alive *= cont
            state = after
        return total.view(n, candidates)


def plan_actions(
    world_model: LatentModel,
    cem: CEM,
    latent: State,
    action_dim: int,
    generator: th.Generator | None = None,
    deterministic: bool = False,
) -> Tensor:
    """
    Plan in a learned model and return the first action of every plan.

    :param world_model: the model
    :param cem: the planner
    :param latent: states of n environments, (n, ...)
    :param action_dim: width A of a continuous action
    :param generator: source of randomness
    :param deterministic: the same candidates for every state and the most likely future of each:
        a pure function of the state, and of no other row; what is drawn is that of a seed of zero
    :return: in [-1, 1], (n, A)
    """
    if th.jit.is_tracing() or th.compiler.is_exporting():
        raise NotImplementedError(
            "Actions that are planned cannot be traced or exported: every step would be hundreds "
            "of steps of the model. Call predict(), or export an agent with an actor."
        )
    n, device = len(first_part(latent)), first_part(latent).device
    # A recording draws from a generator that someone sets to the same seed before every call.
    if deterministic and not graphs.is_recording():
        generator = th.Generator(device).manual_seed(0)
    rollout = ModelRollout(world_model, latent, generator, mode=deterministic)
    plan = cem.plan(rollout, action_dim, n, generator, device, common_noise=deterministic)
    return plan.mean[:, 0]


class CEMPlanner:
    """
    Let any agent's model act by planning: a policy for the real environment and for dreams.

    ``CEMPlanner(DreamerV3.load("walker")).predict(obs, state, episode_start)`` plans in the world
    model of a DreamerV3 where the agent itself would ask its actor.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.planning import CEM, CEMPlanner
        >>> model = DreamerV3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(size="debug"))
        >>> planner = CEMPlanner(model, CEM(horizon=4, iterations=2, candidates=20, elites=2))
        >>> action, state = planner.predict(model.get_env().reset(), deterministic=True)
        >>> action.shape
        (1, 1)

    :param model: an agent, or a dream of one: whatever has its ``policy``
    :param cem: the planner; :func:`dreamzoo.planning.random_shooting` makes another
    :raises ValueError: where actions are not continuous
    """

    def __init__(self, model: Any, cem: CEM | None = None) -> None:
        policy = getattr(getattr(model, "dream", model), "policy", model)
        if not isinstance(policy, WorldModelPolicy):
            raise ValueError(f"{model!r} has no world model; expected an agent or a dream of one.")
        check_continuous(policy)
        self.policy, self.cem = policy, cem or CEM()

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Choose actions, see :meth:`dreamzoo.common.policies.world_model.WorldModelPolicy.predict`.

        :param observation: of the agent's environment, numpy or torch, one or a batch
        :param state: what the last call returned
        :param episode_start: rows whose state is to be forgotten
        :param deterministic: a pure function of the arguments
        """
        return self.policy.predict(
            observation, state, episode_start, deterministic, choose=self.choose, fixed=self.cem
        )

    def choose(
        self, latent: State, generator: th.Generator | None = None, deterministic: bool = False
    ) -> Tensor:
        """Plan from filtered latents, (n, ...) to (n, A)."""
        dim = self.policy.action_codec.dim
        return plan_actions(
            self.policy.world_model, self.cem, latent, dim, generator, deterministic
        )


def check_continuous(policy: WorldModelPolicy) -> None:
    """Refuse action spaces that the cross-entropy method cannot search."""
    if policy.action_codec.is_discrete:
        raise ValueError(
            f"Planning refits a normal distribution to actions, which {policy.action_space} does "
            "not have; it needs a Box."
        )
