"""What a policy reads: vectors, an image, or what an extractor of SB3 makes of observations."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from dreamzoo.nn.observations import SINGLE, ObservationCodec, is_image


class VectorInput:
    """Makes an agent's policy an MlpPolicy: images are flattened unless asked otherwise."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        images: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, images=images, **kwargs)  # type: ignore[call-arg]


class ImageInput:
    """Makes an agent's policy a CnnPolicy: it refuses what is no image."""

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        normalize_images: bool = True,
        **kwargs: Any,
    ) -> None:
        check_image_space(observation_space, normalize_images)
        kwargs["normalize_images"] = normalize_images
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)  # type: ignore[call-arg]


class ExtractorEncoder(nn.Module):
    """
    Let a Stable-Baselines3 features extractor stand in for the encoder.

    :param extractor: gets observations as SB3 preprocesses them, but images as the agent's own
        encoder would read them: (C, H, W), scaled from the bounds of their space to [0, 1]
    :param codec: the observation space
    """

    def __init__(self, extractor: BaseFeaturesExtractor, codec: ObservationCodec) -> None:
        super().__init__()
        self.extractor = extractor
        self.codec = codec
        self.features_dim = extractor.features_dim

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        parts = {}
        for key in self.codec.keys:
            x, space = inputs[key.name], key.space
            if key.kind != "image" and isinstance(space, spaces.Box | spaces.MultiBinary):
                x = x.view(-1, *space.shape)
            parts[key.name] = x
        return self.extractor(parts if self.codec.is_dict else parts[SINGLE])


def check_image_space(space: spaces.Space, normalize_images: bool) -> None:
    """
    Refuse what a CnnPolicy cannot read.

    :param space: observation space
    :param normalize_images: whether images are bytes, to be divided by 255, or booleans
    :raises AssertionError: as SB3's policies do
    """
    assert is_image(space, normalize_images), (
        f"CnnPolicy reads images: a Box of three axes, uint8 with bounds 0 and 255 or bool, not "
        f"{space}. Use MlpPolicy for vectors, MultiInputPolicy for a Dict; for float images with "
        "bounds pass policy_kwargs=dict(normalize_images=False)."
    )
