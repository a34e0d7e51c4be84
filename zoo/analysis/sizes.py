"""Parameter counts and memory of model sizes."""

import numpy as np
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v3 import SIZES, CnnPolicy, MlpPolicy

#: Spaces of dm_control's walker.
VECTOR = spaces.Box(-1, 1, (24,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 64, 64), np.uint8)
ACTION = spaces.Box(-1, 1, (6,), np.float32)

HEADER = "| size | 24 numbers | 64x64x3 image | optimizer and gradients | replay record, image |"


def sizes_table() -> str:
    """
    Write parameter counts and memory of every size of DreamerV3 as a markdown table.

    Example:
        >>> from dreamzoo.analysis.sizes import sizes_table
        >>> print(sizes_table())  # doctest: +ELLIPSIS
        | size | 24 numbers | 64x64x3 image | optimizer and gradients | replay record, image |
        ...
    """
    lines = [HEADER, "|---" * 5 + "|"]
    for name, size in SIZES.items():
        with th.device("meta"):  # shapes only: no memory is needed
            vector = MlpPolicy(VECTOR, ACTION, lambda _: 0.0, size=name)
            image = CnnPolicy(IMAGE, ACTION, lambda _: 0.0, size=name)
        counts = [sum(p.numel() for p in x.trained_parameters()) for x in (vector, image)]
        # Parameters, gradients and two moments, float32.
        memory = counts[1] * 4 * 4 / 1e9
        record = (64 * 64 * 3 + 4 * size.deter + size.stoch) / 1e3
        lines.append(
            f"| `{name}` | {counts[0]:,} | {counts[1]:,} | {memory:.2f} GB | {record:.1f} kB |"
        )
    return "\n".join(lines)
