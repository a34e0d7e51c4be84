"""What a learned model with a state answers to, whatever its state is and whoever trains it."""

from abc import abstractmethod

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.observations import Observation
from dreamzoo.nn.state import State, leaves, stack


class LatentModel(nn.Module):
    """
    A learned environment: the calls that dreams, planners and videos rely on, and no others.

    A state is what the model knows after an observation and before the action that is chosen
    there, see :mod:`dreamzoo.nn.state`: a model with an external memory has that memory in it.
    Observations are torch tensors of the environment's own shape and dtype; actions are encoded
    (:class:`ActionCodec`), of width ``action_dim``. Nothing may change a state in place: others
    hold it, too.

    What a model has to say itself is abstract; the rest follows from it, step by step, and a model
    that can do it at once does that.

    Example:
        >>> import torch
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.nn.latent_model import LatentModel
        >>> small = dict(policy_kwargs=dict(size="debug"), device="cpu")
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", **small).policy.world_model
        >>> isinstance(model, LatentModel)
        True
        >>> state = model.first_state(2)
        >>> path = model.imagine_sequence(state, torch.zeros(5, 2, model.action_dim))  # 5 actions
        >>> reward, cont = model.predict(path)
        >>> reward.shape
        torch.Size([6, 2])
    """

    #: Width A of an encoded action.
    action_dim: int

    def as_learned(self, rewards: Tensor) -> Tensor:
        """
        Turn rewards, as the agent records them, into what :meth:`predict` has learned of them.

        :param rewards: of any shape; the same, unless the agent says otherwise
        """
        return rewards

    @abstractmethod
    def initial(self, n: int) -> State:
        """Return what precedes the first observation of n episodes."""

    @abstractmethod
    def observe(
        self,
        latent: State,
        prev_action: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> State:
        """
        Filter one observation of n environments.

        :param latent: state after the previous observation
        :param prev_action: encoded action that led here, (n, A)
        :param obs: observation, (n, ...)
        :param is_first: rows that start an episode: what was before is forgotten, bool, (n,)
        :param generator: source of randomness
        :param mode: take the most likely state instead of a sample
        """

    @abstractmethod
    def imagine_step(
        self,
        latent: State,
        action: Tensor,
        generator: th.Generator | None = None,
        *,
        mode: bool = False,
    ) -> State:
        """Predict the state after an encoded action (n, A), without an observation."""

    @abstractmethod
    def features(self, latent: State) -> Tensor:
        """Return what stands for states in one vector, float32, (...) to (..., F)."""

    @abstractmethod
    def predict(self, latent: State) -> tuple[Tensor, Tensor]:
        """
        Predict the reward of arriving in states and the probability that the episode goes on.

        :param latent: with any batch axes
        :return: (...) each; ones where the model does not know of ends
        """

    @abstractmethod
    def decode(self, latent: State) -> Observation:
        """Reconstruct observations of states (n, ...) in the environment's shape and dtype."""

    @abstractmethod
    def entropy(self, latent: State) -> Tensor:
        """
        Compute how unsure the model was of states before it saw, or imagined, them.

        :return: nats, (...)
        """

    def sample_reward(self, latent: State, generator: th.Generator | None = None) -> Tensor:
        """
        Draw the reward of arriving in states; of a model that predicts only the mean, that.

        :param latent: with any batch axes
        :param generator: source of randomness
        """
        return self.predict(latent)[0]

    def first_state(self, n: int, generator: th.Generator | None = None) -> State:
        """Draw n states that the model believes in before the first observation of an episode."""
        nothing = self.initial(n)
        like = next(part for part in leaves(nothing) if part.is_floating_point())
        return self.imagine_step(nothing, like.new_zeros(n, self.action_dim), generator)

    def filter(
        self,
        latent: State,
        prev_actions: Tensor,
        obs: Observation,
        is_first: Tensor,
        generator: th.Generator | None = None,
    ) -> State:
        """
        Filter sequences.

        :param latent: state before the first step, (B, ...)
        :param prev_actions: encoded actions, ``prev_actions[:, t]`` led to ``obs[:, t]``, (B, T, A)
        :param obs: observations, (B, T, ...)
        :param is_first: bool, (B, T)
        :param generator: source of randomness
        :return: the state after every observation, (B, T, ...)
        """
        states = []
        for t in range(is_first.shape[1]):
            seen = {key: x[:, t] for key, x in obs.items()} if isinstance(obs, dict) else obs[:, t]
            latent = self.observe(latent, prev_actions[:, t], seen, is_first[:, t], generator)
            states.append(latent)
        return stack(states, 1)

    def imagine_sequence(
        self, latent: State, actions: Tensor, generator: th.Generator | None = None
    ) -> State:
        """
        Predict what follows states when actions are given.

        :param latent: where to start, (n, ...)
        :param actions: encoded, (H, n, A)
        :param generator: source of randomness
        :return: states 0..H, the start included, (H + 1, n, ...)
        """
        states = [latent]
        for action in actions:
            states.append(self.imagine_step(states[-1], action, generator))
        return stack(states, 0)
