"""
CNNs on CUDA: convolutions by cuDNN without their bias, all else between them in Triton.

The plain form is what the modules of :mod:`dreamzoo.nn.networks.encoders` and
:mod:`dreamzoo.nn.networks.decoders` compute by torch's own functions. With bf16 as the precision of
products, activations are bfloat16; parameters, statistics and gradients of parameters are float32.
"""

import torch as th
import torch.nn.functional as F
from torch import Tensor

from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.precision import current
from dreamzoo.nn.fast.switch import is_traced

#: Channels that cuDNN's fast convolutions take are multiples of this.
ALIGNED = 8


def is_fused(x: Tensor) -> bool:
    """Return whether what lies between convolutions of tensors like x is fused."""
    return kernels.uses_triton(x) and not is_traced()


def dtype_of_activations() -> th.dtype:
    return th.bfloat16 if current() == "bf16" else th.float32


def as_kernel(weight: Tensor, x: Tensor) -> Tensor:
    """Lay out a convolution's kernel for activations x."""
    return weight.to(x.dtype, memory_format=th.channels_last)


def centered(images: Tensor) -> Tensor:
    """Turn images in [0, 1] into activations in [-0.5, 0.5]."""
    return (images - 0.5).to(dtype_of_activations(), memory_format=th.channels_last)


def first_stage(images: Tensor, kernel: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    """
    Convolve images, pool, norm over channels and SiLU.

    :param images: in [0, 1], read as [-0.5, 0.5], (N, C, H, W)
    :param kernel: (O, C, 5, 5)
    :param bias: (O,)
    :param scale: of the norm, (O,)
    :return: (N, O, H / 2, W / 2), rounded up
    """
    from dreamzoo.nn.fast.triton import pixels as triton_pixels

    fits = images.shape[1] <= triton_pixels.CHANNELS and not images.requires_grad
    if fits and current() != "fp32":  # of whole float32 numbers cuDNN makes products faster
        return triton_pixels.FirstStage.apply(images, kernel, bias, scale, current())
    x = centered(images)
    x = F.conv2d(x, as_kernel(kernel, x), padding=kernel.shape[-1] // 2)
    return pool_norm_silu(x, bias, scale)


def norm_silu(x: Tensor, bias: Tensor, scale: Tensor, up: int = 1) -> Tensor:
    """
    SiLU of the RMS norm over channels of ``x + bias``.

    :param x: (N, C, H, W); with ``up = 2`` (N, 4 C, H, W) as :func:`up_conv` makes it
    :param bias: (C,)
    :param scale: of the norm, (C,)
    :param up: how many times as high and wide the result is
    :return: (N, C, up * H, up * W)
    """
    from dreamzoo.nn.fast.triton import images as triton_images

    return triton_images.NormSiLU.apply(x, bias, scale, up)


def pool_norm_silu(x: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
    """
    SiLU of the RMS norm over channels of the largest of every 2x2 pixels of ``x + bias``.

    :param x: (N, C, H, W)
    :param bias: (C,)
    :param scale: of the norm, (C,)
    :return: (N, C, H / 2, W / 2), rounded up
    """
    from dreamzoo.nn.fast.triton import images as triton_images

    return triton_images.PoolNormSiLU.apply(x, bias, scale)


def up_conv(x: Tensor, weight: Tensor, products: Tensor) -> Tensor:
    """
    Convolve pixels that are each repeated two times in both directions, on the coarse ones.

    :param x: (N, I, H, W)
    :param weight: 5x5 kernel of the fine image, (O, I, 5, 5)
    :param products: what each of its 25 taps adds to the 3x3 kernels of the four fine pixels,
        (25, 4 * 9)
    :return: channel o of fine pixel (a, b) is channel (2 a + b) O + o; zeros make their number a
        multiple of 8, (N, >= 4 O, H, W)
    """
    parts = (weight.flatten(2) @ products).unflatten(2, (4, 3, 3))  # (O, I, 4, 3, 3)
    kernel = parts.permute(2, 0, 1, 3, 4).flatten(0, 1)  # (4 O, I, 3, 3)
    missing = -len(kernel) % ALIGNED
    if missing:
        kernel = F.pad(kernel, (0, 0, 0, 0, 0, 0, 0, missing))
    return F.conv2d(x, as_kernel(kernel, x), padding=1)


def sigmoid(x: Tensor, bias: Tensor, up: int = 1) -> Tensor:
    """
    Sigmoid of ``x + bias``.

    :param x: (N, >= up * up * C, H, W), see :func:`norm_silu`
    :param bias: (C,)
    :param up: how many times as high and wide the result is
    :return: float32, (N, C, up * H, up * W)
    """
    from dreamzoo.nn.fast.triton import pixels as triton_pixels

    return triton_pixels.Sigmoid.apply(x, bias, up)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over each image, (N, C, H, W) both to (N,)."""
    from dreamzoo.nn.fast.triton import losses as triton_losses

    return triton_losses.SquaredError.apply(prediction, target)
