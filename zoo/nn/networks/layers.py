"""Layers of DreamerV3: truncated-normal linear, block-diagonal linear, RMS norm, SiLU blocks."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch as th
import torch.nn.functional as F
from torch import Tensor, nn

from dreamzoo.nn.fast.kernels import NORM_EPS, norm_silu
from dreamzoo.nn.fast.pieces import cached_pieces
from dreamzoo.nn.fast.products import linear, narrow, wide
from dreamzoo.nn.fast.switch import computes_plainly, needs_graph
from dreamzoo.nn.fast.tapes import Layer, Stack, StackTape
from dreamzoo.nn.fast.threads import map_pieces

#: Inverse standard deviation of a unit normal truncated at +-2 (reference nets.py, Initializer).
TRUNC_NORMAL_GAIN = 1.1368


def init_trunc_normal_(weight: Tensor, fan_in: int, outscale: float = 1.0) -> None:
    """
    Fill with a normal truncated at two standard deviations, ``std = outscale / sqrt(fan_in)``.

    ``a`` and ``b`` of torch's function are absolute values, not multiples of ``std``: passing
    +-2 there would not truncate at all (a bug that ports of DreamerV3 had).

    :param weight: filled in place
    :param fan_in: number of inputs that feed one output
    :param outscale: 0 gives exact zeros
    """
    std = outscale * TRUNC_NORMAL_GAIN / math.sqrt(fan_in)
    with th.no_grad():
        if std == 0.0:
            weight.zero_()
        else:
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Linear(nn.Linear):
    """
    Fully connected layer with the reference's initialization; biases start at zero.

    :param in_dim: inputs
    :param out_dim: outputs
    :param outscale: scales the initial weights; 0 makes the first output exactly zero
    """

    def __init__(self, in_dim: int, out_dim: int, outscale: float = 1.0) -> None:
        super().__init__(in_dim, out_dim)
        init_trunc_normal_(self.weight, in_dim, outscale)
        nn.init.zeros_(self.bias)


class RMSNorm(nn.Module):
    """
    Root-mean-square norm over the last axis, with a scale and no shift.

    :param dim: size of the last axis
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(th.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, NORM_EPS)


class ChannelRMSNorm(RMSNorm):
    """RMS norm over the channels of an image batch (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        x = wide(x)
        scale = th.rsqrt(x.square().mean(dim=1, keepdim=True) + NORM_EPS)
        return x * scale * self.weight[:, None, None]


class Conv2d(nn.Conv2d):
    """Convolution of numbers that are rounded as the agent's precision says."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(*narrow(input, weight, bias))  # type: ignore[arg-type]


class ConvTranspose2d(nn.ConvTranspose2d):
    """The same, transposed."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None
        x, weight, bias = narrow(x, self.weight, self.bias)  # type: ignore[assignment]
        shape = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, weight, bias, *shape)  # type: ignore[arg-type]


class DenseBlock(nn.Module):
    """
    Linear with bias, RMS norm, SiLU: the hidden layer used everywhere.

    :param in_dim: inputs
    :param out_dim: outputs
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = Linear(in_dim, out_dim)
        self.norm = RMSNorm(out_dim)

    def weights(self) -> Layer:
        """Weight, bias and norm scale."""
        # Acting asks every layer: attributes of modules take three times as long.
        linear = self._modules["linear"]._parameters  # type: ignore[union-attr]
        norm = self._modules["norm"]._parameters  # type: ignore[union-attr]
        return linear["weight"], linear["bias"], norm["weight"]  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        if needs_graph():
            return F.silu(self.norm(self.linear(x)))
        return _without_graph([self.weights()], x)


def _without_graph(layers: list[Layer], x: Tensor) -> Tensor:
    """Evaluate a stack of :class:`DenseBlock`, (..., in) to (..., out)."""
    rows = x.flatten(0, -2)
    for weight, bias, scale in layers:
        rows = linear(rows, weight, bias)
        norm_silu(rows, scale.detach()[None], rows)
    return rows.view(*x.shape[:-1], -1)


class MLP(nn.Sequential):
    """
    A stack of :class:`DenseBlock`.

    :param in_dim: inputs
    :param widths: width of every hidden layer; empty gives the identity
    """

    def __init__(self, in_dim: int, widths: Sequence[int]) -> None:
        dims = [in_dim, *widths]
        super().__init__(*[DenseBlock(i, o) for i, o in pairwise(dims)])
        self.out_dim = dims[-1]

    def weights(self) -> list[Layer]:
        """List weight, bias and norm scale of every layer."""
        return [block.weights() for block in self]  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        if not len(self):
            return x
        if computes_plainly():
            return super().forward(x)
        if not th.is_grad_enabled():
            return _without_graph(self.weights(), x)
        rows = x.flatten(0, -2)
        tape = self.tape(len(rows))
        map_pieces(tape.evaluate, tape.plan(cached_pieces(rows.detach())), x.device)
        return self.attach(tape, rows).view(*x.shape[:-1], -1)

    def tape(self, rows: int) -> StackTape:
        """Prepare to evaluate N rows and to attach the gradient later."""
        return StackTape(self.weights(), rows)

    def attach(self, tape: StackTape, rows: Tensor | None = None) -> Tensor:
        """
        Attach its gradient to the result of a tape of this stack.

        :param tape: all rows evaluated
        :param rows: these rows (N, in), if the gradient shall reach them
        """
        if not len(self):
            return th.cat([piece for _, piece in tape.pieces]) if rows is None else rows
        return Stack.apply(tape, rows, *(weight for layer in self.weights() for weight in layer))


class BlockLinear(nn.Module):
    """
    Linear layer with a block-diagonal kernel: block k of the output sees block k of the input.

    The initial standard deviation uses the *full* input width as fan-in, as the reference does
    (it counts the block axis like the receptive field of a convolution).

    :param in_dim: inputs, a multiple of ``blocks``
    :param out_dim: outputs, a multiple of ``blocks``
    :param blocks: number g of blocks
    """

    def __init__(self, in_dim: int, out_dim: int, blocks: int) -> None:
        super().__init__()
        if in_dim % blocks or out_dim % blocks:
            raise ValueError(f"{in_dim} inputs, {out_dim} outputs do not split in {blocks} blocks")
        self.blocks = blocks
        self.weight = nn.Parameter(th.empty(blocks, in_dim // blocks, out_dim // blocks))
        self.bias = nn.Parameter(th.zeros(out_dim))
        init_trunc_normal_(self.weight, in_dim)

    def forward(self, x: Tensor) -> Tensor:
        blocks = x.reshape(-1, self.blocks, self.weight.shape[1]).transpose(0, 1)  # (g, N, in/g)
        out = th.bmm(blocks, self.weight).transpose(0, 1)  # (N, g, out/g)
        return out.reshape(*x.shape[:-1], -1) + self.bias
