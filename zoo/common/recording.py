"""Episodes that were recorded by whatever means: what agents learn from without an environment."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Episode(NamedTuple):
    """
    An episode of n steps, in the environment's own units.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.common.recording import Episode
        >>> Episode(np.zeros((6, 3)), np.zeros(5, int), np.ones(5), terminated=True).steps
        5

    :param observations: from the first to the one that the last action led to, (n + 1, ...), one
        array or one for every key
    :param actions: (n, ...)
    :param rewards: of these actions, (n,)
    :param terminated: whether the task was over with the last step, for good; else the record, or
        the time, ended there
    """

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool

    @property
    def steps(self) -> int:
        """The number of actions, n."""
        return len(self.rewards)


class StoredEpisodes(Sequence[Episode]):
    """
    Episodes that lie somewhere: each is read when it is asked for, and its length is known before.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.offline import Episode, Recording, StoredEpisodes
        >>> from gymnasium import spaces
        >>> class Waves(StoredEpisodes):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         wave = np.sin(np.arange(11.0)[:, None] * (index + 1))
        ...         return Episode(wave, np.zeros(10, int), np.ones(10), terminated=False)
        ...     def length(self, index):
        ...         return 10
        >>> Recording(spaces.Box(-1, 1, (1,)), spaces.Discrete(2), Waves()).steps
        30
    """

    @abstractmethod
    def length(self, index: int) -> int:
        """
        Tell the number of steps of an episode without reading it.

        :param index: of the episode
        """


class Recording(Sequence[Episode]):
    """
    Episodes of one environment; each is read when it is asked for.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.common.recording import Episode, Recording
        >>> from gymnasium import spaces
        >>> episode = Episode(np.zeros((6, 3)), np.zeros(5, int), np.ones(5), terminated=True)
        >>> recording = Recording(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), [episode] * 10)
        >>> training, held_out = recording.split(0.8, seed=0)
        >>> len(training), len(held_out), held_out.steps
        (8, 2, 10)

    :param observation_space: of the environment; a Dict has no others in it
    :param action_space: of the environment
    :param episodes: anything with a length that hands out an episode for an index;
        :class:`StoredEpisodes` need not be read to be counted
    :param chosen: indices of those that count; default: all
    :param name: what to call it in an error
    :raises ValueError: if there are no episodes
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        episodes: Sequence[Episode],
        chosen: Sequence[int] | None = None,
        name: str = "the recording",
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.name = name
        self._episodes = episodes
        self._chosen = list(range(len(episodes))) if chosen is None else [int(i) for i in chosen]
        if not self._chosen:
            raise ValueError(f"There are no episodes in {name}.")

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._part(self._chosen[index])
        number = self._chosen[index]
        episode, source = self._episodes[number], self._episodes
        name = self.name_of(index)
        _check(episode, name)
        if isinstance(source, StoredEpisodes) and source.length(number) != episode.steps:
            raise ValueError(
                f"{name} has {episode.steps} steps, and was said to have {source.length(number)}."
            )
        return episode

    def name_of(self, index: int) -> str:
        """
        Return what to call an episode in an error, by its number in the whole recording.

        :param index: of the episode
        """
        return f"Episode {self._chosen[index]} of {self.name}"

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """The steps of every episode, (E,); reads those that are no :class:`StoredEpisodes`."""
        source = self._episodes
        if isinstance(source, StoredEpisodes):
            return np.array([source.length(number) for number in self._chosen])
        return np.array([episode.steps for episode in self])

    @property
    def steps(self) -> int:
        """The number of all actions, see :attr:`lengths`."""
        return int(self.lengths.sum())

    @property
    def returns(self) -> np.ndarray:
        """The undiscounted return of every episode, (E,); reads all of them."""
        return np.array([np.sum(episode.rewards, dtype=np.float64) for episode in self])

    def split(self, share: float, seed: int = 0) -> tuple["Recording", "Recording"]:
        """
        Part the episodes at random, such as in those to learn from and those to test on.

        :param share: of the first part; both get at least one episode
        :param seed: of the choice
        :raises ValueError: for a share that is not between 0 and 1, and for a single episode
        """
        if not 0.0 < share < 1.0 or len(self) < 2:
            raise ValueError(
                f"share={share} of {len(self)} episodes; expected a share between 0 and 1, and at "
                "least two episodes, so that both parts get one."
            )
        order = np.random.default_rng(seed).permutation(self._chosen)
        first = min(max(round(share * len(self)), 1), len(self) - 1)
        return self._part(sorted(order[:first])), self._part(sorted(order[first:]))

    def _part(self, chosen: Sequence[int]) -> "Recording":
        return Recording(
            self.observation_space, self.action_space, self._episodes, chosen, self.name
        )

    def env(self) -> "RecordedEnv":
        """Return what agents are made with in the place of an environment."""
        return RecordedEnv(self.observation_space, self.action_space, self.name)


class RecordedEnv(gym.Env[Any, Any]):
    """
    The spaces of a recording, for the constructor of an agent: there is nothing to play in.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.common.recording import RecordedEnv
        >>> from gymnasium import spaces
        >>> env = RecordedEnv(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
        >>> model = DreamerV3("MlpPolicy", env, policy_kwargs=dict(size="debug"))

    :param observation_space: of the environment that was recorded
    :param action_space: of the environment that was recorded
    :param name: what to call the recording in an error
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        name: str = "the recording",
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._name = name

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        raise RuntimeError(
            f"There is no environment behind {self._name}. Learn from it with learn_offline(), "
            "dream with dream_env(), or give the agent a real environment with set_env()."
        )

    def step(self, action: Any) -> Any:
        return self.reset()


def _check(episode: Episode, name: str) -> None:
    """Refuse an episode whose parts do not belong together."""
    observed = episode.observations
    parts = observed if isinstance(observed, dict) else {"observations": observed}
    lengths = {name: len(part) for name, part in parts.items()}
    steps = len(episode.rewards)
    fits = steps == len(episode.actions) and all(n == steps + 1 for n in lengths.values())
    if not steps or not fits:
        raise ValueError(
            f"{name} has {len(episode.actions)} actions, {steps} rewards and {lengths} "
            "observations; expected at least one action, as many rewards, and one observation more."
        )
