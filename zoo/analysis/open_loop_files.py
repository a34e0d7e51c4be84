"""Open-loop predictions as files: a video for each image, a figure of everything else."""

import pathlib

import numpy as np

from dreamzoo.analysis.figures import image_frames, image_keys, vector_figure
from dreamzoo.analysis.open_loop import OpenLoop
from dreamzoo.envs.errors import requires_extra
from dreamzoo.nn.observations import ObservationCodec

with requires_extra("video"):
    import imageio.v3 as imageio
    import matplotlib.figure  # noqa: F401  # before minutes are spent on what it shows

#: Frames of a picture that shows a video at a glance.
GLANCE = 6


def write_open_loop(
    folder: pathlib.Path, shown: OpenLoop, codec: ObservationCodec, scale: int = 2
) -> list[str]:
    """
    Write truth, prediction and error.

    Example:
        >>> import pathlib
        >>> import torch
        >>> from dreamzoo.analysis.open_loop import OpenLoop
        >>> from dreamzoo.analysis.open_loop_files import write_open_loop
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> numbers = torch.zeros(1, 10, 2)  # a sequence of 10 steps
        >>> shown = OpenLoop(numbers, numbers, torch.zeros(2, 1, 10), context=3)
        >>> folder = pathlib.Path()
        >>> write_open_loop(folder, shown, ObservationCodec(spaces.Box(-1, 1, (2,))))
        ['open_loop.png']

    :param folder: receives a video and a picture named after each image, and ``open_loop.png``
    :param shown: sequences (B, T) and what the model says of them
    :param codec: of the model's observations
    :param scale: magnification of images
    :return: names of the files
    """
    written = ["open_loop.png"]
    for key in image_keys(codec):
        frames = image_frames(shown, key).transpose(0, 2, 3, 1)
        frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
        imageio.imwrite(folder / f"{key.name}.mp4", frames, fps=15, macro_block_size=2)
        length, sequences = len(frames), shown.reward.shape[1]
        every = np.linspace(0, length - 1, GLANCE).round().astype(int)
        strip = np.concatenate(list(frames[every, :, : frames.shape[2] // sequences]), axis=1)
        imageio.imwrite(folder / f"{key.name}.png", strip)
        written += [f"{key.name}.mp4", f"{key.name}.png"]
    vector_figure(shown, codec).savefig(folder / "open_loop.png", dpi=120)
    return written
