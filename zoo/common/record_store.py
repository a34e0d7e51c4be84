"""Where a replay keeps parts of its records: on the host, or where the agent computes."""

from collections.abc import Mapping

import numpy as np
import torch as th

#: Shape of what one record holds and the dtype it is stored in, by name.
RecordSpec = Mapping[str, tuple[tuple[int, ...], np.dtype | type]]

#: What parts of records may be handed over as.
Values = Mapping[str, np.ndarray | th.Tensor]


def to_device(array: np.ndarray, device: th.device) -> th.Tensor:
    """Copy an array to a device without waiting for it; on a CPU share its memory."""
    tensor = th.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory a copy waits for the device
    return tensor.to(device, non_blocking=True)


class RecordStore:
    """
    Some parts of all records as tensors of one device.

    On the host they are allocated lazily by the operating system. On an accelerator an update can
    read and refresh them without waiting for the device.

    :param spec: names, shapes and dtypes of what a record holds
    :param shape: records of a stream, and streams
    :param device: where to keep them
    """

    def __init__(self, spec: RecordSpec, shape: tuple[int, int], device: th.device) -> None:
        self.spec, self.shape, self.device = spec, shape, device
        self.tensors: dict[str, th.Tensor] = {}
        for name, (each, dtype) in spec.items():
            if device.type == "cpu":
                self.tensors[name] = th.from_numpy(np.zeros((*shape, *each), dtype))
            else:
                like = th.from_numpy(np.zeros((), dtype))
                self.tensors[name] = th.zeros((*shape, *each), dtype=like.dtype, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes of all records."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def copy_to(self, device: th.device, used: int) -> "RecordStore":
        """
        Keep the same records on another device.

        :param device: where to
        :param used: rows of the streams that were written to
        """
        other = RecordStore(self.spec, self.shape, device)
        for name, tensor in self.tensors.items():
            other.tensors[name][:used].copy_(tensor[:used])
        return other

    def put(self, rows: np.ndarray, envs: np.ndarray, values: Values) -> None:
        """
        Store parts of distinct records.

        :param rows: positions in the streams, (N,)
        :param envs: streams, (N,)
        :param values: (N, ...) each; what is missing becomes zero
        """
        index = self._index(rows, envs)
        for name, tensor in self.tensors.items():
            value = values.get(name)
            if value is None:
                tensor[index] = 0
                continue
            if isinstance(value, np.ndarray):
                value = to_device(value, self.device)
            value = value.to(self.device, tensor.dtype, non_blocking=True)
            tensor[index] = value.view(-1, *tensor.shape[2:])

    def get(self, rows: np.ndarray, envs: np.ndarray, device: th.device) -> dict[str, th.Tensor]:
        """
        Read parts of records, on a device.

        :param rows: positions in the streams, (...)
        :param envs: streams, (...)
        :return: (..., *shape) each
        """
        flat = to_device(np.asarray(rows * self.shape[1] + envs, np.int64), self.device)
        return {
            name: tensor.flatten(0, 1)[flat].to(device) for name, tensor in self.tensors.items()
        }

    def to_host(self, used: int) -> dict[str, np.ndarray]:
        """Copy the first records of all streams to the host."""
        return {name: tensor[:used].cpu().numpy() for name, tensor in self.tensors.items()}

    def _index(self, rows: np.ndarray, envs: np.ndarray) -> tuple[th.Tensor, th.Tensor]:
        return tuple(to_device(np.asarray(x, np.int64), self.device) for x in (rows, envs))  # type: ignore[return-value]


def is_here(device: th.device) -> bool:
    """Say whether this machine has a device; a file, or SB3, may name another as a mere label."""
    return device.type != "cuda" or th.cuda.is_available()


def free_memory(device: th.device) -> int:
    """Return the bytes that are free on a device, where it can tell; else more than there are."""
    if device.type != "cuda":
        return 2**63
    kept = th.cuda.memory_reserved(device) - th.cuda.memory_allocated(device)
    return int(th.cuda.mem_get_info(device)[0]) + kept  # torch's own store is free, too
