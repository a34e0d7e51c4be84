"""Where a replay keeps the latents of its records: on the host, or where the agent computes."""

from collections.abc import Mapping

import numpy as np
import torch as th

#: Shape of one record's latent and the dtype it is stored in, by name.
LatentSpec = Mapping[str, tuple[tuple[int, ...], np.dtype | type]]

#: What latents may be handed over as.
Values = Mapping[str, np.ndarray | th.Tensor]


def to_device(array: np.ndarray, device: th.device) -> th.Tensor:
    """Copy an array to a device without waiting for it; on a CPU share its memory."""
    tensor = th.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory a copy waits for the device
    return tensor.to(device, non_blocking=True)


class LatentStore:
    """
    Latents of all records as tensors of one device.

    On the host they are allocated lazily by the operating system. On an accelerator an update can
    read and refresh them without waiting for the device.

    :param spec: names, shapes and dtypes of a record's latent
    :param shape: records of a stream, and streams
    :param device: where to keep them
    """

    def __init__(self, spec: LatentSpec, shape: tuple[int, int], device: th.device) -> None:
        self.device = device
        self.tensors: dict[str, th.Tensor] = {}
        for name, (each, dtype) in spec.items():
            if device.type == "cpu":
                self.tensors[name] = th.from_numpy(np.zeros((*shape, *each), dtype))
            else:
                like = th.from_numpy(np.zeros((), dtype))
                self.tensors[name] = th.zeros((*shape, *each), dtype=like.dtype, device=device)

    def put(self, rows: np.ndarray, envs: np.ndarray, values: Values) -> None:
        """
        Store latents of distinct records.

        :param rows: positions in the streams, (N,)
        :param envs: streams, (N,)
        :param values: (N, ...) each; what is missing becomes zero
        """
        index = self._index(rows, envs)
        for name, tensor in self.tensors.items():
            if name in values:
                value = th.as_tensor(values[name]).to(self.device, non_blocking=True)
                tensor[index] = value.to(tensor.dtype).view(-1, *tensor.shape[2:])
            else:
                tensor[index] = 0

    def get(self, rows: np.ndarray, envs: np.ndarray, device: th.device) -> dict[str, th.Tensor]:
        """Read the latents of records (N,), on a device."""
        index = self._index(rows, envs)
        return {name: tensor[index].to(device) for name, tensor in self.tensors.items()}

    def to_host(self, used: int) -> dict[str, np.ndarray]:
        """Copy the first records of all streams to the host."""
        return {name: tensor[:used].cpu().numpy() for name, tensor in self.tensors.items()}

    def _index(self, rows: np.ndarray, envs: np.ndarray) -> tuple[th.Tensor, th.Tensor]:
        return tuple(to_device(np.asarray(x, np.int64), self.device) for x in (rows, envs))  # type: ignore[return-value]


def choose_device(device: th.device, nbytes: int) -> th.device:
    """
    Keep latents where the agent computes, if they take less than half of the free memory there.

    :param device: of the agent
    :param nbytes: of all latents
    """
    if device.type == "cuda":
        kept = th.cuda.memory_reserved(device) - th.cuda.memory_allocated(device)
        if nbytes > (th.cuda.mem_get_info(device)[0] + kept) / 2:  # torch's own store is free, too
            return th.device("cpu")
    return device
