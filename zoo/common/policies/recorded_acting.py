"""Acting on a device: one copy there, one recorded graph, one copy back."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch as th
from torch import Tensor

from dreamzoo.nn.fast.parcels import Parcel, parcel_of
from dreamzoo.nn.fast.recordings import Recordings
from dreamzoo.nn.observations import SINGLE
from dreamzoo.nn.state import leaves

if TYPE_CHECKING:
    from dreamzoo.common.policies.recurrent import Choice, RecurrentPolicy
    from dreamzoo.nn.state import State


class Manner(NamedTuple):
    """
    How to act.

    :param generator: source of randomness; None: torch's global one
    :param deterministic: most likely latent and action
    :param choose: how to choose; None: as the policy does
    :param fixed: what choosing depends on beside the arguments of ``choose`` and the policy's
        weights; None: something that no recording can follow
    """

    generator: th.Generator | None
    deterministic: bool
    choose: "Choice | None"
    fixed: Hashable | None


class Step(NamedTuple):
    """
    What a step returns.

    :param result: memory and action, one behind the other, in bytes
    :param parcel: where they lie
    """

    result: Tensor
    parcel: Parcel


class RecordedActing:
    """
    Steps of a policy whose observations come from the host.

    What comes from there travels in one piece, and so does what goes back. What is computed in
    between is recorded once for every number of rows and manner of acting. The numbers are those of
    :meth:`RecurrentPolicy.act`. A copy has no recordings.
    """

    def __init__(self) -> None:
        self._recordings = Recordings()
        #: Draws the same numbers in every deterministic step.
        self._fixed: dict[th.device, th.Generator] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "RecordedActing":
        return type(self)()

    def __reduce__(self) -> tuple[type["RecordedActing"], tuple[()]]:
        return type(self), ()

    def to_host(
        self,
        policy: "RecurrentPolicy",
        obs: Mapping[str, np.ndarray],
        memory: Sequence[np.ndarray],
        is_first: np.ndarray,
        manner: Manner,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """
        Act with a memory on the host.

        :param policy: acts
        :param obs: by the names of the codec's keys, (n, ...)
        :param memory: flat parts, (n, ...)
        :param is_first: bool, (n,)
        :param manner: how
        :return: actions in replay form, (n, dims), and what to remember, like ``memory``
        """
        with self._recordings.lock:
            step = self._step(policy, obs, memory, is_first, (), manner)
            host = step.result.to("cpu", copy=True).numpy()
        *parts, action = step.parcel.views(host)
        return action, tuple(part.reshape(len(part), -1) for part in parts)

    def keeping(
        self,
        policy: "RecurrentPolicy",
        obs: Mapping[str, np.ndarray],
        memory: "State",
        is_first: np.ndarray,
        manner: Manner,
    ) -> tuple[np.ndarray, "State"]:
        """
        Act with a memory that stays on the device, see :meth:`to_host`.

        :param memory: (n, ...) each
        :return: actions, and what to remember
        """
        kept = leaves(memory)
        with self._recordings.lock:
            step = self._step(policy, obs, (), is_first, kept, manner)
            result = step.result.clone()  # the next step overwrites it
        *parts, action = step.parcel.open(result)
        return action.cpu().numpy(), policy.memory.unpack(parts)

    @th.inference_mode(False)
    @th.no_grad()
    def _step(
        self,
        policy: "RecurrentPolicy",
        obs: Mapping[str, np.ndarray],
        memory: Sequence[np.ndarray],
        is_first: np.ndarray,
        kept: Sequence[Tensor],
        manner: Manner,
    ) -> Step:
        arrays, names, device = [*obs.values(), is_first, *memory], tuple(obs), policy.device
        parcel = parcel_of(arrays)
        if manner.deterministic:
            manner = manner._replace(generator=self._same_numbers(device))

        def compute(packed: Tensor, *kept: Tensor) -> Step:
            parts = parcel.open(packed)
            seen, first = parts[: len(names)], parts[len(names)]
            action, after = policy.act(
                dict(zip(names, seen, strict=True))
                if policy.observation_codec.is_dict
                else seen[0],
                policy.memory.unpack([*parts[len(names) + 1 :], *kept]),
                first,
                manner.generator,
                deterministic=manner.deterministic,
                choose=manner.choose,
            )
            found = *leaves(after), action
            parcel_back = parcel_of(found)
            return Step(parcel_back.pack(found, device), parcel_back)

        compute.__qualname__ = f"{type(policy).__name__}.act"
        packed = parcel.send(arrays, device)
        if manner.fixed is None or not policy.cuda_graph:
            return compute(packed, *kept)
        key = (
            parcel.layout,
            names,
            manner._replace(choose=getattr(manner.choose, "__func__", manner.choose)),
            policy.training,
            policy.precision,
        )
        generators = [] if manner.generator is None else [manner.generator]
        return self._recordings.get(policy, key, compute, generators)(packed, *kept)

    def _same_numbers(self, device: th.device) -> th.Generator:
        if device not in self._fixed:
            self._fixed[device] = th.Generator(device)
        return self._fixed[device].manual_seed(0)


def named(observation: np.ndarray | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Give the parts of an observation the names of the codec's keys."""
    return observation if isinstance(observation, Mapping) else {SINGLE: observation}
