"""Where the records of a replay lie: on the host, or partly on the device that batches go to."""

import warnings
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer

from dreamzoo.common.host_memory import physical_memory, zeros
from dreamzoo.common.record_store import RecordSpec, RecordStore, free_memory, is_here

#: Name of the stored observations; those of a Dict have their keys behind it.
OBSERVATIONS = "observations"


class ReplayStorage(ReplayBuffer):
    """
    Ring of records for every environment: memory, its size, and what is pickled of it.

    :param buffer_size: number of records of all environments together
    :param observation_space: may be a Dict
    :param action_space: action space
    :param device: where batches go
    :param n_envs: number of streams
    :param latents: what to store of the agent's latent with every record
    :param latents_on_host: keep latents in the host's memory
    :param observations_on_device: keep observations where batches go
    :raises MemoryError: where the operating system refuses the arrays, or the device has no room
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: th.device | str,
        n_envs: int,
        latents: RecordSpec | None,
        *,
        latents_on_host: bool,
        observations_on_device: bool,
    ) -> None:
        per_env = max(buffer_size // n_envs, 1)
        # Not ReplayBuffer's own: it would allocate every observation twice.
        BaseBuffer.__init__(self, per_env, observation_space, action_space, device, n_envs)
        self.latent_spec = dict(latents or {})
        self.latents_on_host = latents_on_host
        self.observations_on_device = observations_on_device
        try:
            self._allocate()
        except MemoryError as error:
            raise MemoryError(self._too_large(buffer_size, self._bytes_per_record())) from error
        self.reset()
        self.place()

    def reset(self) -> None:
        """Forget everything."""
        self.pos, self.full = 0, False
        self._count = np.zeros(self.n_envs, np.int64)  # records ever added, by stream

    def _layout(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """List name, shape and dtype of what one record holds."""
        # Box actions are stored in units of [-1, 1], whatever the environment's own dtype is.
        box = isinstance(self.action_space, spaces.Box)
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "actions": ((self.action_dim,), np.float32 if box else self.action_space.dtype),
            "rewards": ((), np.float32),
            "dones": ((), np.bool_),
            "timeouts": ((), np.bool_),
            "episode_starts": ((), np.bool_),
        }
        if isinstance(self.observation_space, spaces.Dict):
            for key, space in self.observation_space.spaces.items():
                layout[f"{OBSERVATIONS}.{key}"] = (self.obs_shape[key], space.dtype)  # type: ignore[call-overload]
        else:
            layout[OBSERVATIONS] = (self.obs_shape, self.observation_space.dtype)
        return layout

    def _allocate(self) -> None:
        """Make room for everything on the host."""
        shape = (self.buffer_size, self.n_envs)
        self._arrays = {k: zeros(shape + s, d) for k, (s, d) in self._layout().items()}
        self._latents = RecordStore(self.latent_spec, shape, th.device("cpu"))
        self._observations: RecordStore | None = None  # those that are not among the arrays
        self._name_storage()

    def place(self) -> None:
        """
        Move latents and observations to where they belong now that ``device`` is known.

        :raises MemoryError: if the device has no room for observations that are to be there
        """
        home = th.device(self.device)
        if home.type == "cpu" or not is_here(home):
            return
        if self.observations_on_device and self._observations is None:
            self._move_observations(home)
        # Not what was asked for, only the better place: latents leave room for the rest.
        if not self.latents_on_host and self._latents.device.type == "cpu":
            if self._latents.nbytes < free_memory(home) / 2:
                self._latents = self._latents.copy_to(home, self._used())
            else:
                warnings.warn(
                    f"The latents of the replay take {self._latents.nbytes / 1e9:.1f} GB, and "
                    f"{home} has {free_memory(home) / 1e9:.1f} GB left: they stay in main memory, "
                    "and every update waits for a copy. Lower buffer_size, or say "
                    "latents_on_host=True.",
                    stacklevel=3,
                )
        self._name_storage()

    def _move_observations(self, home: th.device) -> None:
        names = [name for name in self._arrays if name.startswith(OBSERVATIONS)]
        needed, free = sum(self._arrays[name].nbytes for name in names), free_memory(home)
        if needed > free:
            raise MemoryError(
                f"observations_on_device: {self.buffer_size * self.n_envs:,} observations take "
                f"{needed / 1e9:.1f} GB, and {home} has {free / 1e9:.1f} GB left. Lower "
                "buffer_size, or leave them on the host."
            )
        layout = self._layout()
        spec, shape = {name: layout[name] for name in names}, (self.buffer_size, self.n_envs)
        self._observations = RecordStore(spec, shape, home)
        for name, tensor in self._observations.tensors.items():
            written = self._arrays.pop(name)[: self._used()]
            tensor[: len(written)].copy_(th.from_numpy(written))

    def _name_storage(self) -> None:
        """
        Name the storage as SB3's buffers do.

        On the host these are arrays, elsewhere tensors; they are views, never copies.
        """
        self.actions, self.rewards = self._arrays["actions"], self._arrays["rewards"]
        self.dones, self.timeouts = self._arrays["dones"], self._arrays["timeouts"]
        self.episode_starts = self._arrays["episode_starts"]
        stored = self._arrays if self._observations is None else self._observations.tensors
        self.observations: Any = by_key(
            {name: x for name, x in stored.items() if name.startswith(OBSERVATIONS)}
        )
        on_host = self._latents.device.type == "cpu"
        self.latents: dict[str, Any] = {
            name: x.numpy() if on_host else x for name, x in self._latents.tensors.items()
        }

    def _bytes_per_record(self, *, on_host: bool = False) -> int:
        """
        Count the bytes of one record.

        :param on_host: only of what lies in the host's memory
        """
        layout = self._layout() | self.latent_spec
        if on_host:
            names = [
                *self._arrays,
                *(self.latent_spec if self._latents.device.type == "cpu" else ()),
            ]
            layout = {name: layout[name] for name in names}
        return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in layout.values())

    def nbytes(self, records: int | None = None) -> int:
        """
        Count the memory of a number of records, wherever it lies.

        :param records: default: as many as fit, all environments together
        """
        full = self.buffer_size * self.n_envs
        return self._bytes_per_record() * (full if records is None else min(records, full))

    @staticmethod
    def _too_large(records: int, each: int) -> str:
        return (
            f"A replay buffer of {records:,} records of {each / 1e3:.1f} kB each takes "
            f"{records * each / 1e9:.1f} GB, which does not fit in the "
            f"{physical_memory() / 1e9:.1f} GB of memory that this process may have. Lower "
            "buffer_size (records of all environments together), use smaller images or a smaller "
            "model."
        )

    def check_memory(self, records: int) -> int:
        """
        Refuse to start a run whose replay cannot fit in this machine.

        :param records: how many records the run is going to add, about
        :return: bytes of the host's memory that the replay takes then; what lies on an accelerator
            has its place already
        :raises MemoryError: names the size and what to change
        """
        full = self.buffer_size * self.n_envs
        each = self._bytes_per_record(on_host=True)
        needed = each * min(self.size() * self.n_envs + records, full)
        if needed > physical_memory():
            raise MemoryError(self._too_large(needed // each, each))
        return needed

    def _used(self) -> int:
        """Count the rows of the storage that some stream has written to."""
        return int(min(self._count.max(), self.buffer_size))

    def size(self) -> int:
        """Return the number of records of the shortest stream."""
        return int(min(self._count.min(), self.buffer_size))

    def _take(self, name: str, flat: np.ndarray) -> np.ndarray:
        array = self._arrays[name]
        return array.reshape(-1, *array.shape[2:]).take(flat, axis=0)

    def stored(self) -> dict[str, np.ndarray | th.Tensor]:
        """Return all that was written, by name, (rows, n_envs, ...), where it lies."""
        used = self._used()
        parts: dict[str, np.ndarray | th.Tensor] = {k: x[:used] for k, x in self._arrays.items()}
        if self._observations is not None:
            parts |= {name: x[:used] for name, x in self._observations.tensors.items()}
        return parts | {f"latents.{k}": x[:used] for k, x in self._latents.tensors.items()}

    def fill(self, count: np.ndarray) -> dict[str, np.ndarray]:
        """
        Take as many records as others have written.

        :param count: how many were ever written, by stream
        :return: memory for what their :meth:`stored` returned, on the host
        """
        self._count[:] = count
        longest = int(self._count.max())
        self.pos, self.full = longest % self.buffer_size, self.size() >= self.buffer_size
        latents = {f"latents.{name}": x.numpy() for name, x in self._latents.tensors.items()}
        return {name: x[: self._used()] for name, x in (self._arrays | latents).items()}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the part that was written, not gigabytes of zeros."""
        state = self.__dict__.copy()
        used = self._used()
        for name in ("actions", "rewards", "dones", "timeouts", "episode_starts"):
            del state[name]
        del state["observations"], state["latents"], state["_observations"], state["_latents"]
        state["_arrays"] = {name: array[:used] for name, array in self._arrays.items()}
        if self._observations is not None:
            state["_arrays"] |= self._observations.to_host(used)
        latents = self._latents.to_host(used)
        state["_arrays"] |= {f"latents.{name}": array for name, array in latents.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        used = state.pop("_arrays")
        self.latents_on_host = self.observations_on_device = False
        self.__dict__.update(state)
        self._allocate()
        # On the host for now: the device that it was saved on may not be here.
        arrays = self._arrays | {f"latents.{name}": array for name, array in self.latents.items()}
        for name, array in used.items():
            arrays[name][: len(array)] = array


def by_key(parts: dict[str, Any]) -> Any:
    """Turn parts of observations by their storage's names into what the space says."""
    if OBSERVATIONS in parts:
        return parts[OBSERVATIONS]
    return {name.removeprefix(f"{OBSERVATIONS}."): part for name, part in parts.items()}
