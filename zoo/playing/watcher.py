"""What an agent makes of a stream of observations, whoever chooses the actions."""

from collections.abc import Callable
from typing import Any

import torch as th

from dreamzoo.common.policies.world_model import WorldModelPolicy
from dreamzoo.nn.process import in_own_precision, restores_process
from dreamzoo.nn.state import State

#: Chooses actions in replay form, (1, dims), in a state of the model.
Choose = Callable[..., th.Tensor]


class Watcher:
    """
    Filters observations of one stream, and lets the agent, a planner or a person choose.

    The agent remembers what was done, not what it would have done: it can take over at any moment,
    and give back. Everything is the most likely one, and so a function of what was seen.

    Example:
        >>> import torch
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.playing.watcher import Watcher
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> watcher = Watcher(model.policy)
        >>> watcher.see(model.get_env().reset())
        >>> watcher.act().shape  # as the agent would
        torch.Size([1, 1])
        >>> watcher.act(lambda *_: torch.tensor([[1]])).item()  # as someone else says
        1

    :param policy: of an agent with a world model
    """

    def __init__(self, policy: WorldModelPolicy) -> None:
        self.policy = policy
        self.forget()

    @property
    def precision(self) -> str:
        """What the model's products multiply."""
        return self.policy.precision

    @property
    def device(self) -> th.device:
        """Where the model is."""
        return self.policy.device

    def forget(self) -> None:
        """Let a new episode begin."""
        self._memory: State = self.policy.initial_state(1)
        self._after: State | None = None
        self._is_first = True
        self._obs: Any = None

    def see(self, observation: Any) -> None:
        """
        Take note of what is there now; the last action that was chosen has led to it.

        :param observation: as the agent sees it, (1, ...)
        """
        if self._after is not None:
            self._memory, self._after, self._is_first = self._after, None, False
        self._obs, _ = self.policy.obs_to_tensor(observation)

    def hear(self, reward: float) -> None:
        """Take note of what the last action has earned, for agents that want to know."""
        tell = getattr(self.policy, "told", None)
        if tell is not None and self._after is not None:
            self._after = tell(self._after, th.tensor([reward], device=self.device))

    def act(self, choose: Choose | None = None) -> th.Tensor:
        """
        Choose an action for what is seen now.

        :param choose: None: as the agent does
        :return: in replay form, (1, dims)
        """
        action, self._after = self._step(choose)
        return action

    def state(self) -> State:
        """Return the model's state after what is seen now, (1, ...)."""
        found: list[State] = []

        def look(state: State, *_: Any) -> th.Tensor:
            found.append(state)
            return th.zeros(1, self.policy.action_codec.replay_dim, device=self.device)

        self._step(look)
        return found[0]

    @restores_process
    @th.no_grad()
    @in_own_precision
    def _step(self, choose: Choose | None) -> tuple[th.Tensor, State]:
        self.policy.set_training_mode(False)
        first = th.tensor([self._is_first], device=self.device)
        memory = self._memory
        return self.policy.act(self._obs, memory, first, deterministic=True, choose=choose)
