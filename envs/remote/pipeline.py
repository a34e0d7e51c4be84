"""Workers that act by themselves: the steps that they are ahead of the learner."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from dreamzoo.envs.remote.fleet import Fleet


class Actor(Protocol):
    """What acts in a worker: a copy of an agent, which remembers what it has seen."""

    def __call__(self, obs: Any, is_first: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return actions for environments, and what the learner wants to know of them."""

    def seed(self, seed: int) -> None:
        """Seed what is random in its choices."""

    def load(self, news: Any) -> None:
        """Take what the learner has learned."""


class Pipeline:
    """
    Steps that are asked for before the learner needs them, always as many.

    A worker acts as soon as its environments have answered, and what it has done waits until the
    learner takes it. It does things in the order in which they were asked for, so that which
    weights choose which action does not depend on how long anything takes.

    :param fleet: the workers
    :param make_actor: makes a copy of the learner as it is
    :param make_seed: draws a seed for the copy of one worker
    :param ahead: steps
    """

    def __init__(
        self,
        fleet: Fleet,
        make_actor: Callable[[], Actor],
        make_seed: Callable[[], int],
        ahead: int,
    ) -> None:
        self._fleet, self._ahead = fleet, ahead
        self._make_actor, self._make_seed = make_actor, make_seed
        self._asked: dict[int, deque[Any]] = {}
        self.equip(range(len(fleet.members)))

    def equip(self, workers: Iterable[int]) -> None:
        """
        Give workers copies of the learner as it is; a reset must follow.

        :param workers: their numbers
        """
        actor = self._fleet.share(self._make_actor())
        # Waited for, so that what a worker cannot load is said here.
        self._fleet.ask("take", {index: (actor, self._make_seed()) for index in workers})

    def fill(self, workers: Iterable[int]) -> None:
        """
        Ask workers whose environments were just reset for their first steps.

        :param workers: their numbers
        """
        for index in workers:
            self._asked[index] = deque()
            for _ in range(self._ahead):
                self.ask(index)

    def ask(self, index: int) -> None:
        """
        Ask a worker for one more step.

        :param index: its number
        """
        self._asked[index].append(self._fleet.send(index, "act"))

    def next(self, workers: Iterable[int]) -> tuple[dict[int, Any], dict[int, str]]:
        """
        Wait for the next step of workers.

        :param workers: their numbers
        :return: see :meth:`Fleet.receive`
        """
        return self._fleet.receive({index: self._asked[index].popleft() for index in workers})

    def tell(self, news: Any) -> None:
        """
        Send the actors news, which they get when they have made the steps asked for until now.

        :param news: for :meth:`Actor.load`
        """
        shared = self._fleet.share(news)
        for member in self._fleet.members:
            self._fleet.tell(member.index, "load", shared)
