"""Datasets of Minari as recordings."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dreamzoo.common.recording import Episode, Recording, StoredEpisodes
from dreamzoo.envs.errors import requires_extra
from dreamzoo.offline.flat_spaces import flat_space, flat_values

if TYPE_CHECKING:
    from minari import MinariDataset


def read_minari(dataset: "str | MinariDataset") -> Recording:
    """
    Read a dataset of `Minari <https://minari.farama.org>`_; its episodes stay in its file.

    Example:
        >>> import gymnasium
        >>> import minari
        >>> from dreamzoo.offline import read_minari
        >>> env = minari.DataCollector(gymnasium.make("CartPole-v1"))
        >>> for seed in range(3):
        ...     _, over = env.reset(seed=seed), False
        ...     while not over:
        ...         *_, terminated, truncated, _ = env.step(env.action_space.sample())
        ...         over = terminated or truncated
        >>> dataset = env.create_dataset("cartpole/random-v0")  # doctest: +SKIP
        >>> recording = read_minari(dataset)  # or "cartpole/random-v0"  # doctest: +SKIP

    A Dict or Tuple in a Dict or Tuple becomes one Dict with joined names, such as ``arm.position``
    and ``pose.0``.

    :param dataset: or the name of one that is on this machine, see ``minari download``
    :return: the recording
    :raises ImportError: without Minari, with the line that installs it
    :raises ValueError: for spaces that hold no numbers, such as Text
    """
    with requires_extra("offline"):
        import minari
    found = minari.load_dataset(dataset) if isinstance(dataset, str) else dataset
    name = f"the dataset {found.spec.dataset_id}"
    observations = flat_space(found.observation_space, name)
    actions = flat_space(found.action_space, name)
    return Recording(observations, actions, _Episodes(found), name=name)


class _Episodes(StoredEpisodes):
    def __init__(self, dataset: "MinariDataset") -> None:
        self._dataset = dataset
        self._indices = [int(i) for i in dataset.episode_indices]

    def __len__(self) -> int:
        return len(self._indices)

    def length(self, index: int) -> int:
        (found,) = self._dataset.storage.get_episode_metadata([self._indices[index]])
        return int(found["total_steps"])

    def __getitem__(self, index: Any) -> Any:
        (found,) = self._dataset.iterate_episodes([self._indices[index]])
        return Episode(
            flat_values(self._dataset.observation_space, found.observations),
            np.asarray(flat_values(self._dataset.action_space, found.actions)),
            np.asarray(found.rewards),
            bool(found.terminations[-1]),
        )
