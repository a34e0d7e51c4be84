"""Features of small images and boards for agents that read observations as SB3 does."""

from gymnasium import spaces
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    NatureCNN,
)
from torch import Tensor, nn

from dreamzoo.nn.networks.grids import GridEncoder, Style
from dreamzoo.nn.observations import ObservationCodec, is_image

#: Filters of the first convolution, as MinAtar's own agents have them.
DEPTH = 16
_STYLE = Style(lambda _: None, lambda _: nn.ReLU())


def is_board(space: spaces.Space, normalize_images: bool = True) -> bool:
    """
    Return whether a space holds images that SB3's ``NatureCNN`` cannot read.

    These are images of less than 36 pixels, of booleans, and others than bytes whose channels come
    last.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.discrete_sac.extractors import is_board
        >>> from gymnasium import spaces
        >>> is_board(spaces.Box(0, 1, (10, 10, 4), bool))
        True
        >>> is_board(spaces.Box(0, 255, (3, 64, 64), np.uint8))
        False

    :param space: of one observation
    :param normalize_images: as policies have it
    """
    if not is_image(space, normalize_images):
        return False
    (key,) = ObservationCodec(space, normalize_images=normalize_images).keys
    return key.is_small or key.channels_last or space.dtype == bool


class GridCNN(BaseFeaturesExtractor):
    """
    SB3 extractor for one board: convolutions that know every cell's place, and a layer of ReLU.

    It reads what SB3 makes of observations: bytes divided by 255, all else as it is. SB3's own
    agents can have it, too.

    Example:
        >>> from dreamzoo.discrete_sac.extractors import GridCNN
        >>> from dreamzoo.envs import make_minatar
        >>> from stable_baselines3 import DQN
        >>> settings = dict(policy_kwargs=dict(features_extractor_class=GridCNN), buffer_size=100)
        >>> dqn = DQN("CnnPolicy", make_minatar("breakout"), **settings)
        >>> dqn.q_net.features_extractor.features_dim
        128

    :param observation_space: a Box of three axes, in either order, see
        :func:`dreamzoo.nn.observations.has_channels_last`
    :param features_dim: width of the last layer (MinAtar's own agents: 128)
    """

    def __init__(self, observation_space: spaces.Space, features_dim: int = 128) -> None:
        super().__init__(observation_space, features_dim)
        (key,) = ObservationCodec(observation_space, normalize_images=False).keys
        assert len(key.shape) == 3, f"GridCNN reads one image, not {observation_space}"
        self.channels_last = key.channels_last
        self.cnn = GridEncoder((key.shape[0], key.shape[1], key.shape[2]), DEPTH, _STYLE)
        self.linear = nn.Sequential(nn.Linear(self.cnn.out_dim, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """
        Return features, (N, features_dim).

        :param observations: float, (N, *observation_space.shape)
        """
        x = observations.movedim(-1, -3) if self.channels_last else observations
        return self.linear(self.cnn(x))


class GridCombinedExtractor(CombinedExtractor):
    """
    SB3's ``CombinedExtractor``, with a :class:`GridCNN` for every board.

    Example:
        >>> from dreamzoo.discrete_sac.extractors import GridCombinedExtractor
        >>> from gymnasium import spaces
        >>> board, place = spaces.Box(0, 1, (10, 10, 4), bool), spaces.Box(-1, 1, (2,))
        >>> GridCombinedExtractor(spaces.Dict(board=board, place=place)).features_dim
        258

    :param observation_space: of several observations
    :param cnn_output_dim: features of every image
    :param normalized_image: what is no image of bytes and has three axes is one
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        cnn_output_dim: int = 256,
        normalized_image: bool = False,
    ) -> None:
        if not isinstance(observation_space, spaces.Dict):
            raise ValueError(
                f"MultiInputPolicy reads a Dict of observations, not {observation_space}. Use "
                "MlpPolicy, or CnnPolicy for an image."
            )
        parts = observation_space.spaces
        boards = [name for name in parts if is_board(parts[name], not normalized_image)]
        rest = spaces.Dict({name: parts[name] for name in parts if name not in boards})
        super().__init__(rest, cnn_output_dim, normalized_image)
        self._observation_space = observation_space
        for name in boards:
            self.extractors[name] = GridCNN(parts[name], cnn_output_dim)
        self._features_dim += cnn_output_dim * len(boards)


def cnn_for(space: spaces.Space, normalize_images: bool = True) -> type[BaseFeaturesExtractor]:
    """
    Choose the extractor of a CnnPolicy.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.discrete_sac.extractors import cnn_for
        >>> from gymnasium import spaces
        >>> [cnn_for(spaces.Box(0, 255, (3, n, n), np.uint8)).__name__ for n in (64, 7)]
        ['NatureCNN', 'GridCNN']

    :param space: of observations
    :param normalize_images: as policies have it
    """
    return GridCNN if is_board(space, normalize_images) else NatureCNN
