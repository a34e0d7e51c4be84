"""Where a replay keeps parts of its records: on the host, or where the agent computes."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch as th

from dreamzoo.common.host_memory import zeros
from dreamzoo.nn.fast.parcels import Rows, to_device

#: Shape of what one record holds and the dtype it is stored in, by name.
RecordSpec = Mapping[str, tuple[tuple[int, ...], np.dtype | type]]

#: What parts of records may be handed over as.
Values = Mapping[str, np.ndarray | th.Tensor]


class RecordStore:
    """
    Some parts of all records as tensors of one device.

    On the host they take memory as they are written. On an accelerator an update can
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
                self.tensors[name] = th.from_numpy(zeros((*shape, *each), dtype))
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

    def put(self, records: np.ndarray | th.Tensor, values: Values) -> None:
        """
        Store parts of distinct records.

        :param records: ``position in the stream * number of streams + stream``, int64, (N,)
        :param values: (N, ...) each; what is missing becomes zero
        """
        index = self._here(records)
        for name, tensor in self._flat():
            value = values.get(name)
            if value is None:
                tensor[index] = 0
                continue
            if isinstance(value, np.ndarray):
                value = to_device(value, self.device)
            # The host would read what comes from a GPU before it has arrived.
            waits = self.device.type == "cpu"
            value = value.to(self.device, tensor.dtype, non_blocking=not waits)
            tensor[index] = value.view(-1, *tensor.shape[1:])

    def get(self, records: np.ndarray | th.Tensor, device: th.device) -> dict[str, th.Tensor]:
        """
        Read parts of records, on a device.

        :param records: see :meth:`put`, (...)
        :param device: where to
        :return: (..., *shape) each
        """
        index = self._here(records)
        return {name: tensor[index].to(device) for name, tensor in self._flat()}

    def to_host(self, used: int) -> dict[str, np.ndarray]:
        """Copy the first records of all streams to the host."""
        return {name: tensor[:used].cpu().numpy() for name, tensor in self.tensors.items()}

    def rows(self, records: np.ndarray) -> dict[str, Rows]:
        """Return which records, (...), to gather of those on the host."""
        return {name: Rows(tensor.numpy(), records) for name, tensor in self._flat()}

    def _flat(self) -> Iterator[tuple[str, th.Tensor]]:
        """View the parts by record, (positions * streams, ...)."""
        for name, tensor in self.tensors.items():
            yield name, tensor.flatten(0, 1)

    def _here(self, records: np.ndarray | th.Tensor) -> th.Tensor:
        if isinstance(records, th.Tensor):
            return records.to(self.device)
        return to_device(np.asarray(records, np.int64), self.device)


def is_here(device: th.device) -> bool:
    """Return whether this machine has a device; files and SB3 may name others as mere labels."""
    return device.type != "cuda" or th.cuda.is_available()


def free_memory(device: th.device) -> int:
    """Return the bytes that are free on a device, where it can tell; else more than there are."""
    if device.type != "cuda":
        return 2**63
    kept = th.cuda.memory_reserved(device) - th.cuda.memory_allocated(device)
    return int(th.cuda.mem_get_info(device)[0]) + kept  # torch's own store is free, too
