"""An update of an agent, repeated as one CUDA graph for as long as nothing about it changes."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.autograd.graph import increment_version

from dreamzoo.common.buffers import SequenceBatch, Windows
from dreamzoo.common.training import Outcome, to_means
from dreamzoo.nn.fast import ranks
from dreamzoo.nn.fast.graphs import Graph
from dreamzoo.nn.fast.recordings import Contents
from dreamzoo.nn.optim import LaProp

if TYPE_CHECKING:
    from dreamzoo.common.replay_agent import ReplayAgent

#: Settings, of the agent and of its optimizer's groups, that every step is handed anew.
OF_A_STEP = ("params", "lr", "learning_rate", "n_updates")
NOWHERE = Windows(np.empty(0, np.int64), np.empty(0, np.int64))


class RecordedUpdate:
    """
    The device's part of an update: losses, gradients, the optimizer's step, what follows it.

    :class:`dreamzoo.nn.optim.LaProp` steps inside of the recording. Others step outside of it:
    torch's own count their steps on the host.

    :param agent: whose ``_learn_from`` and ``_after_step`` are called
    """

    def __init__(self, agent: "ReplayAgent") -> None:
        self.agent = agent
        optimizers = [*agent.policy.optimizers.values()]
        inside = [x for x in optimizers if isinstance(x, LaProp)]
        self.inside = inside if len(inside) == len(optimizers) else []
        self.outside = [] if self.inside else optimizers
        self._contents = Contents(agent.policy)
        assert agent._generator is not None
        self._graph = Graph(
            self._update, [agent._generator], self._changed, enabled=self._may_record()
        )
        self._fixed = self._fingerprint()
        self._averages: list[int] | None = None  # of the optimizer: where a recording finds them

    def _may_record(self) -> bool:
        team = ranks.current()
        return self.agent.cuda_graph and (team is None or team.can_record)

    @property
    def is_recorded(self) -> bool:
        """Return whether the last update was repeated from a recording."""
        return self._graph.is_recorded

    def fits(self) -> bool:
        """Return whether everything that a recording has taken for fixed is what it was."""
        return (
            self._contents.are_those_of(self.agent.policy)
            and self._fixed == self._fingerprint()
            and self._averages in (None, self._places())
        )

    def __call__(self, batch: SequenceBatch) -> Outcome:
        """
        Update once.

        :param batch: its windows play no part
        :return: means of metrics, and latents; valid until the next call
        """
        for optimizer in self.inside:
            optimizer.prepare()
        outcome = self._graph(*batch[:-1])
        if self._averages is None and self._graph.is_recorded:
            self._averages = self._places()
        for other in self.outside:
            other.step()
            # torch's fused ones do not say that they have: layouts of weights would be kept.
            increment_version([p for group in other.param_groups for p in group["params"]])
        if self.outside:
            self.agent._after_step()
        return outcome

    def _update(self, *parts: Any) -> Outcome:
        metrics, latents = self.agent._learn_from(SequenceBatch._make([*parts, NOWHERE]))
        for optimizer in self.inside:
            optimizer.apply()
        if self.inside:
            self.agent._after_step()
        return Outcome(to_means(metrics), latents)

    def _changed(self) -> list[Tensor]:
        return self._contents.tensors

    def _places(self) -> list[int]:
        return [
            x.data_ptr()
            for optimizer in self.inside
            for state in optimizer.state.values()
            for x in state.values()
        ]

    def _fingerprint(self) -> Any:
        agent, optimizers = self.agent, [*self.agent.policy.optimizers.values()]
        settings = [getattr(agent, name, None) for name in agent.settings if name not in OF_A_STEP]
        groups = [
            [(name, value) for name, value in group.items() if name not in OF_A_STEP]
            for optimizer in optimizers
            for group in optimizer.param_groups
        ]
        trained = [x.requires_grad for x in self._contents.tensors]
        return (
            settings,
            agent._course(),
            groups,
            trained,
            [*map(id, optimizers)],
            id(agent._generator),
            agent.cuda_graph,
            ranks.current() and id(ranks.current()),
        )
