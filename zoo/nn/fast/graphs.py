"""
Repeat a function of tensors without the host's part in it: record its launches as one CUDA graph.

An update of a small model is thousands of launches of a few microseconds each, and Python takes
longer to say them than the device to do them. A recorded function costs the host one launch.
"""

import gc
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Generic, TypeVar

import torch as th
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from dreamzoo.nn.fast.switch import in_use

Result = TypeVar("Result")

#: Calls of a new shape that run as they are before one is recorded: libraries set themselves up in
#: the first, kernels are compiled, and constants are copied to the device.
WARMUP = 3


class Graph(Generic[Result]):
    """
    A function that is recorded once for a shape of its arguments, and repeated from then on.

    Every call computes the function once, as if it were called directly: the same numbers, the
    same random numbers, the same changes in place. On other devices than CUDA it is called
    directly.

    What a recording reads beside its arguments must stay where it is in memory (parameters,
    states of optimizers); it can wait for nothing on the host, and its shapes cannot depend on
    values. A function that does not allow that is called directly from then on, and a warning
    says why.

    :param function: of tensors, alone or in tuples, NamedTuples and dicts; what it returns likewise
    :param generators: sources of randomness that it draws from, beside torch's own
    :param mutated: lists the tensors that it changes in place
    :param enabled: False always calls the function directly
    """

    def __init__(
        self,
        function: Callable[..., Result],
        generators: Sequence[th.Generator] = (),
        mutated: Callable[[], Iterable[Tensor]] = tuple,
        *,
        enabled: bool = True,
    ) -> None:
        self.function, self.generators, self.mutated = function, generators, mutated
        self.enabled = enabled
        self._shape: Any = None
        self._calls = 0  # of this shape
        self._recording: _Recording[Result] | None = None
        self._stream: th.cuda.Stream | None = None

    @property
    def is_recorded(self) -> bool:
        """Return whether calls of the last shape repeat a recording."""
        return self._recording is not None

    def __call__(self, *arguments: Any) -> Result:
        """
        Compute the function.

        :param arguments: tensors of one device, alone or nested
        :return: its result; the next call may overwrite it
        """
        tensors, structure = tree_flatten(arguments)
        if not self.enabled or not can_record(tensors):
            return self.function(*arguments)
        with _current(tensors[0].device):
            return self._compute(arguments, tensors, structure)

    def _compute(self, arguments: tuple[Any, ...], tensors: list[Tensor], structure: Any) -> Result:
        switches = th.is_grad_enabled(), th.is_inference_mode_enabled()
        shape = structure, switches, [(x.shape, x.dtype, x.device) for x in tensors]
        if shape != self._shape:  # memory is kept for one shape only
            self._shape, self._calls, self._recording = shape, 0, None
        if self._recording is None:
            self._calls += 1
            if self._calls <= WARMUP or not self._record(arguments):
                return self._run(arguments)
        assert self._recording is not None
        result = self._recording.repeat(tensors)
        # Nothing tells torch that the recording has changed them; whoever keeps what was computed
        # from them looks at their versions.
        th.autograd.graph.increment_version(list(self.mutated()))
        return result

    def _run(self, arguments: tuple[Any, ...]) -> Result:
        """Call the function where recordings are made; libraries keep workspaces by stream."""
        if self._stream is None:
            self._stream = th.cuda.Stream()
        here = th.cuda.current_stream()
        self._stream.wait_stream(here)
        with th.cuda.stream(self._stream):
            result = self.function(*arguments)
        here.wait_stream(self._stream)
        return result

    def _record(self, arguments: tuple[Any, ...]) -> bool:
        try:
            self._recording = _Recording(self.function, arguments, self.generators, self._stream)
        except Exception as error:
            self.enabled = False
            _forget_failure(self.generators)
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                f"{_name(self.function)} cannot be recorded as a CUDA graph and runs step by step, "
                f"which is slower: {reason}",
                stacklevel=3,
            )
        return self.enabled


class _Recording(Generic[Result]):
    """
    One recorded call.

    :param function: what to record
    :param arguments: of the shapes to record for
    :param generators: sources of randomness
    :param stream: where to record
    """

    def __init__(
        self,
        function: Callable[..., Result],
        arguments: tuple[Any, ...],
        generators: Iterable[th.Generator],
        stream: th.cuda.Stream | None,
    ) -> None:
        tensors, structure = tree_flatten(arguments)
        self.arguments = [x.detach().clone() for x in tensors]
        self.graph = th.cuda.CUDAGraph()
        for generator in generators:
            self.graph.register_generator_state(generator)
        # Other threads may use the device meanwhile.
        with (
            _no_garbage(),
            th.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"),
        ):
            self.result = function(*tree_unflatten(self.arguments, structure))

    @th.no_grad()
    def repeat(self, tensors: list[Tensor]) -> Result:
        """Compute again, with other arguments."""
        if tensors:
            th._foreach_copy_(self.arguments, tensors)
        self.graph.replay()
        return self.result


@contextmanager
def _no_garbage() -> Iterator[None]:
    """
    Collect garbage before a block and not within it.

    An older graph that nobody refers to any more would be destroyed in the middle of the
    recording, which breaks that off.
    """
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def is_far(device: th.device) -> bool:
    """Return whether a look at values on a device waits, and a copy to it takes long."""
    return device.type != "cpu"


def can_record(tensors: Sequence[Tensor]) -> bool:
    """Return whether a function of these arguments can be recorded: all of them are on CUDA."""
    on_gpu = bool(tensors) and all(isinstance(x, Tensor) and x.is_cuda for x in tensors)
    return on_gpu and in_use() == "fast"


def is_recording() -> bool:
    """
    Return whether a graph is being recorded: what is kept from before must then not be read.

    A recording would read the same memory ever after, and not what is computed anew.
    """
    return th.cuda.is_available() and th.cuda.is_current_stream_capturing()


def detached(result: Any) -> Any:
    """Copy what a graph has returned, so that the next call leaves it alone."""
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, result)


def _current(device: th.device) -> AbstractContextManager[Any]:
    """Make one of several GPUs the one that streams and recordings are of."""
    return th.cuda.device(device) if device.type == "cuda" else nullcontext()


def _forget_failure(generators: Iterable[th.Generator]) -> None:
    """Let generators leave a recording that was broken off: a complete one ends it for them."""
    th.cuda.synchronize()
    graph, nothing = th.cuda.CUDAGraph(), th.zeros((), device="cuda")
    for generator in generators:
        graph.register_generator_state(generator)
    with th.cuda.graph(graph):
        nothing.add_(0)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
