"""Pictures of open-loop predictions."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dreamzoo.analysis.open_loop import OpenLoop
from dreamzoo.envs.dreams.rendering import draw_images, shows_kinds
from dreamzoo.envs.errors import requires_extra
from dreamzoo.nn.observations import SINGLE, Key, ObservationCodec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LINES = 8


def image_keys(codec: ObservationCodec) -> list[Key]:
    """
    List the image keys that can be shown: gray, RGB, the last frame of a stack, or a board.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.analysis.figures import image_keys
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> camera = spaces.Box(0, 255, (3, 64, 64), np.uint8)
        >>> codec = ObservationCodec(spaces.Dict(camera=camera, speed=spaces.Box(-1, 1, (2,))))
        >>> [key.name for key in image_keys(codec)]
        ['camera']
    """
    keys = codec.image_keys
    return [key for key in keys if key.shape[0] == 1 or key.shape[0] % 3 == 0 or shows_kinds(key)]


def _get(obs: Tensor | dict[str, Tensor], key: Key) -> np.ndarray:
    value = obs[key.name] if isinstance(obs, dict) else obs
    return value.detach().cpu().numpy()


def _shades(obs: Tensor | dict[str, Tensor], key: Key) -> np.ndarray:
    """Draw images as float32 from 0 to 255, whatever the bounds of their space are."""
    image = obs[key.name] if isinstance(obs, dict) else obs
    return draw_images(key, key.to_shades(image.detach().cpu()).numpy())


def image_frames(shown: OpenLoop, key: Key) -> np.ndarray:
    """
    Put truth, prediction and error below each other, sequences side by side.

    A white bar on top marks the frames that the model saw. Channels that are kinds of objects get
    colors, and small images get large, see :func:`dreamzoo.envs.dreams.rendering.draw_images`.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from dreamzoo.analysis.figures import image_frames, image_keys
        >>> from dreamzoo.analysis.open_loop import OpenLoop
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> codec = ObservationCodec(spaces.Box(0, 255, (3, 64, 64), np.uint8))
        >>> images = torch.zeros(2, 10, 3, 64, 64, dtype=torch.uint8)  # 2 sequences of 10 steps
        >>> shown = OpenLoop(images, images, torch.zeros(2, 2, 10), context=3)
        >>> image_frames(shown, image_keys(codec)[0]).shape
        (10, 3, 192, 128)

    :param shown: predictions
    :param key: an image
    :return: uint8 frames (T, 3, 3 * H, B * W), H and W as drawn
    """
    truth, prediction = (_shades(x, key) for x in (shown.truth, shown.prediction))
    error = (prediction - truth + 255.0) / 2.0  # gray where there is none
    frames = np.concatenate([truth, prediction, error], axis=3)  # (B, T, C, 3H, W)
    frames = frames.transpose(1, 2, 3, 0, 4).reshape(*frames.shape[1:4], -1)
    frames = np.repeat(frames, 3, axis=1) if frames.shape[1] == 1 else frames
    frames[: shown.context, :, :2] = 255.0
    return frames.round().clip(0, 255).astype(np.uint8)


def vector_figure(shown: OpenLoop, codec: ObservationCodec, sequence: int = 0) -> "Figure":
    """
    Draw truth and prediction of one sequence over time, with the reward.

    Example:
        >>> import torch
        >>> from dreamzoo.analysis.figures import vector_figure
        >>> from dreamzoo.analysis.open_loop import OpenLoop
        >>> from dreamzoo.nn.observations import ObservationCodec
        >>> from gymnasium import spaces
        >>> numbers = torch.zeros(1, 10, 2)  # a sequence of 10 steps
        >>> shown = OpenLoop(numbers, numbers, torch.zeros(2, 1, 10), context=3)
        >>> figure = vector_figure(shown, ObservationCodec(spaces.Box(-1, 1, (2,))))
        >>> [axis.get_ylabel() for axis in figure.axes]
        ['observation[0]', 'observation[1]', 'reward']

    :param shown: predictions
    :param codec: names what is not an image
    :param sequence: which sequence
    """
    with requires_extra("video"):
        from matplotlib.figure import Figure  # without pyplot: no global state, no screen

    lines = []
    for key in codec.flat_keys:
        truth, prediction = (_get(x, key)[sequence] for x in (shown.truth, shown.prediction))
        truth, prediction = (x.reshape(len(x), -1) for x in (truth, prediction))
        name = "observation" if key.name == SINGLE else key.name
        for i in range(truth.shape[1]):
            lines.append((f"{name}[{i}]", truth[:, i], prediction[:, i]))
    reward = shown.reward[:, sequence].cpu().numpy()
    lines = [*lines[: MAX_LINES - 1], ("reward", reward[0], reward[1])]
    figure = Figure(figsize=(8, 1.3 * len(lines) + 0.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(lines), 1, sharex=True))
    for axis, (name, truth, prediction) in zip(axes, lines, strict=True):
        axis.plot(truth, color="black", label="truth")
        axis.plot(prediction, color="tab:red", linestyle="--", label="model")
        axis.axvspan(-0.5, shown.context - 0.5, color="0.9", label="seen")
        axis.set_ylabel(name, rotation=0, ha="right")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize="small")
    axes[-1].set_xlabel("step; open loop after the gray part")
    return figure
