"""The policy of MERLIN: it reads the predictor's memory, and writes nothing."""

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.distributions import BoundedNormalActions, CategoricalActions
from dreamzoo.nn.memory.external import ExternalMemory
from dreamzoo.nn.memory.predictor import PredictorState, tanh_mlp
from dreamzoo.nn.memory.reader import MemoryReader, Reading
from dreamzoo.nn.networks.heads import ActionDistribution
from dreamzoo.nn.state import map_parts


class ReadOnlyActor(nn.Module):
    """
    LSTM that reads z and the predictor's memory, then chooses (figure 1c).

    All that it reads is a constant to it: its gradient stays its own.

    Example:
        >>> from dreamzoo import MERLIN
        >>> policy = MERLIN("MlpPolicy", "CartPole-v1").policy
        >>> state = policy.world_model.initial(4)
        >>> own = policy.actor.attend(state, policy.actor.reader.initial(4))
        >>> policy.actor(state.z, own.context).sample().shape
        torch.Size([4, 1])

    :param latents: width of z
    :param units: width of an LSTM layer
    :param layers: of the LSTM
    :param heads: reads at every step
    :param memory: that of the predictor; None: there is none
    :param width: of the hidden layer
    :param codec: the action space
    """

    def __init__(
        self,
        latents: int,
        units: int,
        layers: int,
        heads: int,
        memory: ExternalMemory | None,
        width: int,
        codec: ActionCodec,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.reader = MemoryReader(latents, units, layers, heads, memory)
        out = codec.dim if codec.is_discrete else 2 * codec.dim
        self.body = tanh_mlp(latents + self.reader.context_dim, [width], out)

    def attend(self, state: PredictorState, own: Reading) -> Reading:
        """
        Read what the predictor has just drawn, and its memory.

        :param state: of the predictor, (n, ...)
        :param own: what this network knew before, (n, ...)
        """
        rows = map_parts(Tensor.detach, state.rows)
        return self.reader(state.z.detach(), own, rows)[0]

    def forward(self, z: Tensor, context: Tensor) -> ActionDistribution:
        """
        Choose.

        :param z: (..., Z)
        :param context: of this network, (..., L * H + K * W)
        """
        out = self.body(th.cat([z.detach(), context], dim=-1))
        return distribution_of(out, self.codec)


def distribution_of(out: Tensor, codec: ActionCodec) -> ActionDistribution:
    """
    Read a distribution of actions off a network's output.

    :param out: logits, (..., A); of a Box raw means and deviations, (..., 2 * A)
    :param codec: the action space
    """
    if codec.is_discrete:
        return CategoricalActions(out, codec.sizes, unimix=0.0)
    mean, deviation = out.chunk(2, dim=-1)
    return BoundedNormalActions(mean, deviation)


def described(distribution: ActionDistribution) -> Tensor:
    """
    Describe a policy as the value reads it: log-probabilities; of numbers, mean and log-deviation.

    :param distribution: of actions, (..., A)
    :return: without gradient, (..., A) or (..., 2 * A)
    """
    if isinstance(distribution, CategoricalActions):
        parts = distribution.logits.split(distribution.sizes, dim=-1)
        return th.cat([part.log_softmax(-1) for part in parts], dim=-1).detach()
    return th.cat([distribution.mean, distribution.std.log()], dim=-1).detach()
