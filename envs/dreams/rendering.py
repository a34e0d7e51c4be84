"""Pictures of dreams."""

import numpy as np

from dreamzoo.envs.errors import requires_extra


def to_frame(image: np.ndarray) -> np.ndarray:
    """Turn (C, H, W) from 0 to 255, the last of a stack, into an RGB frame."""
    image = image[-3:] if len(image) % 3 == 0 else image[-1:]
    image = image.round().clip(0, 255).astype(np.uint8)
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def draw_numbers(parts: dict[str, np.ndarray], reward: float) -> np.ndarray:
    """Draw every number of an observation as a bar."""
    with requires_extra("video"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(len(parts), 1))
    for axis, (name, part) in zip(axes, parts.items(), strict=True):
        values = np.asarray(part, np.float64).reshape(-1)
        axis.bar(np.arange(len(values)), np.sign(values) * np.log1p(np.abs(values)))
        axis.set_ylim(-3, 3)
        axis.set_ylabel(f"symlog {name}")
        axis.set_xticks([])
    axes[0].set_title(f"reward {reward:.3f}")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
