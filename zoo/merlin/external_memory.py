"""What MERLIN and RL-MEM have in common: an external memory, which an episode may fill."""

import warnings
from abc import abstractmethod
from typing import Any, ClassVar

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from dreamzoo.common.environments.workers import dead_workers_named
from dreamzoo.common.rollout_agent import RecurrentActorCriticPolicy, RolloutAgent
from dreamzoo.nn.memory.external import ExternalMemory, Rows
from dreamzoo.nn.state import State


class ExternalMemoryPolicy(RecurrentActorCriticPolicy):
    """Acts with an external memory."""

    #: Arguments that change no parameter, so that a saved agent can be loaded with others.
    free_kwargs: ClassVar[tuple[str, ...]] = ("rows",)
    #: Of the steps that were made, how many are written by the next step only.
    steps_behind: ClassVar[int] = 0

    @property
    @abstractmethod
    def external_memory(self) -> ExternalMemory | None:
        """The memory; None if there is none."""

    @abstractmethod
    def rows_of(self, state: State) -> Rows | tuple[()]:
        """
        Return what a memory holds.

        :param state: as :meth:`initial_state` returns it
        """

    @abstractmethod
    def read_weights(self, before: State, after: State) -> Tensor:
        """
        Return with which weights what the policy follows was read from rows in one step.

        :param before: memory before the step, (n, ...)
        :param after: memory after it, (n, ...)
        :return: (n, K, N) of K reads and N rows
        :raises ValueError: if there is no memory
        """


class ExternalMemoryAgent(RolloutAgent):
    """
    On-policy algorithm with an external memory; says once when episodes are too long for it.

    :param args: of the algorithm
    :param kwargs: of the algorithm
    """

    policy: ExternalMemoryPolicy

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._said = False
        super().__init__(*args, **kwargs)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        result = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        assert self.env is not None
        with dead_workers_named(self.env):
            specs = self.env.get_attr("spec") if self.env.has_attr("spec") else []
        limits = [getattr(spec, "max_episode_steps", None) or 0 for spec in specs]
        self._compare(limit := max(limits, default=0), f"may have {limit} steps")
        return result

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any, n_rollout_steps: int
    ) -> bool:
        """
        Collect a window.

        :param env: training environment
        :param callback: called at every step, and at the beginning and end of the window
        :param rollout_buffer: the agent's own
        :param n_rollout_steps: steps of every environment
        :return: False if the callback has stopped the training
        """
        goes_on = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        rows = self.policy.rows_of(self._last_state)
        if isinstance(rows, Rows) and not self._said:
            steps = int(rows.written.max()) + self.policy.steps_behind
            self._compare(steps, f"have {steps} steps or more")
        return goes_on

    def _compare(self, steps: int, said: str) -> None:
        """Warn of episodes of so many steps, said in words, if the memory has fewer rows."""
        memory = self.policy.external_memory
        if memory is None or steps <= memory.rows or self._said:
            return
        self._said = True
        rows = f"{memory.rows} row{'s' * (memory.rows != 1)}"
        warnings.warn(
            f"Episodes {said}, and the memory has {rows}. Once it is full, every step overwrites "
            "the row that was read least, and what stood there is forgotten. To keep all of it, "
            "pass policy_kwargs=dict(rows=...), as many as the longest episode has steps: to a new "
            "agent, or beside its other policy_kwargs to load().",
            stacklevel=2,
        )


def retro_gamma(gamma: float) -> float:
    """
    Return the discount of what rows of the memory gather, for an agent's own.

    :param gamma: of the agent; undiscounted sums would gather nothing, and have 0.99
    """
    return 0.99 if gamma == 1.0 else gamma
