"""Several graphs of one module, for as long as its weights stay where they are in memory."""

from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from operator import is_
from threading import RLock
from typing import Any

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.fast.graphs import Graph

#: Recordings that are kept, those used last: one of every way in which someone acts.
MOST = 4


class Recordings:
    """
    Functions of a module's weights as graphs, by what they depend on beside their arguments.

    A copy, also a pickled one, is empty: recordings read the memory that they were made of. What
    a graph returns is overwritten by its next call: threads hold ``lock`` until they have read it.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self._graphs: dict[Hashable, Graph[Any]] = {}
        self._contents: Contents | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Recordings":
        return type(self)()

    def __reduce__(self) -> tuple[type["Recordings"], tuple[()]]:
        return type(self), ()

    def get(
        self,
        module: nn.Module,
        key: Hashable,
        function: Callable[..., Any],
        generators: Sequence[th.Generator] = (),
    ) -> Graph[Any]:
        """
        Return the graph of a function.

        :param module: whose weights the function reads
        :param key: whatever else it depends on beside its arguments; functions of the same key
            are taken for the same
        :param function: see :class:`Graph`
        :param generators: see :class:`Graph`
        """
        if self._contents is None or not self._contents.are_those_of(module):
            self._contents = Contents(module)
            self._graphs.clear()
        graph = self._graphs.pop(key, None)
        if graph is None:
            # One warning is enough where something cannot be recorded.
            possible = all(other.enabled for other in self._graphs.values())
            graph = Graph(function, generators, enabled=possible)
            if len(self._graphs) == MOST:
                del self._graphs[next(iter(self._graphs))]
        self._graphs[key] = graph
        return graph


class Contents:
    """
    What a module consists of, and where that lies in memory.

    :param module: the module
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        every = (x for m in module.modules() for x in (m._modules, m._parameters, m._buffers))
        self._dicts: list[dict[str, Any]] = list(every)
        self._sizes = [*map(len, self._dicts)]
        self._objects = [*self._values()]
        self.tensors = [x for x in self._objects if isinstance(x, Tensor)]
        self._places = [*map(Tensor.data_ptr, self.tensors)]

    def _values(self) -> chain[Any]:
        return chain.from_iterable(map(dict.values, self._dicts))

    def are_those_of(self, module: nn.Module) -> bool:
        """Return whether nothing was replaced or moved; acting asks at every step."""
        return (
            module is self._module
            and [*map(len, self._dicts)] == self._sizes
            and all(map(is_, self._values(), self._objects))
            and [*map(Tensor.data_ptr, self.tensors)] == self._places
        )
