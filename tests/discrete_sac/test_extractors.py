"""Features of boards for agents that read observations as SB3 does."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN

from dreamzoo import DiscreteSAC
from dreamzoo.discrete_sac.extractors import GridCNN, GridCombinedExtractor, cnn_for
from dreamzoo.testing import RandomEnv

BOOL: Any = bool  # gymnasium annotates no space of these
BOARD = spaces.Box(0, 1, (10, 10, 4), BOOL)
#: Images and whether they are divided by 255, and who reads them.
READERS: list[tuple[spaces.Box, bool, type]] = [
    (spaces.Box(0, 255, (3, 36, 36), np.uint8), True, NatureCNN),
    (spaces.Box(0, 1, (3, 36, 36), np.float32), False, NatureCNN),
    (spaces.Box(0, 255, (3, 36, 35), np.uint8), True, GridCNN),
    (spaces.Box(0, 1, (4, 40, 40), BOOL), True, GridCNN),
    (spaces.Box(0, 1, (40, 40, 4), np.float32), False, GridCNN),
    (BOARD, True, GridCNN),
    (BOARD, False, GridCNN),
]


@pytest.mark.parametrize(("space", "normalize", "reader"), READERS)
def test_a_cnn_is_chosen_by_the_images(space: spaces.Box, normalize: bool, reader: type) -> None:
    assert cnn_for(space, normalize) is reader


def test_what_is_no_image_is_left_to_sb3_to_refuse() -> None:
    env = RandomEnv(spaces.Box(-1, 1, (5, 9, 2)), spaces.Discrete(2))
    with pytest.raises(AssertionError, match="NatureCNN"):
        DiscreteSAC("CnnPolicy", env, buffer_size=100)


@pytest.mark.parametrize("dtype", [BOOL, np.float32])
def test_channels_last_are_read_as_channels_first_are(dtype: Any) -> None:
    last = GridCNN(spaces.Box(0, 1, (5, 9, 2), dtype))
    first = GridCNN(spaces.Box(0, 1, (2, 5, 9), dtype))
    first.load_state_dict(last.state_dict())
    x = th.rand(3, 5, 9, 2)
    th.testing.assert_close(last(x), first(x.permute(0, 3, 1, 2)))


def test_boards_in_a_dict_have_a_cnn_each_and_all_else_what_sb3_gives_it() -> None:
    parts: dict[str, spaces.Space] = dict(
        board=BOARD,
        view=spaces.Box(0, 255, (3, 7, 7), np.uint8),
        camera=spaces.Box(0, 255, (3, 64, 64), np.uint8),
        place=spaces.Box(-1, 1, (2,)),
    )
    extractor = GridCombinedExtractor(spaces.Dict(parts), cnn_output_dim=8)
    kinds = {name: type(net).__name__ for name, net in extractor.extractors.items()}
    assert kinds == dict(board="GridCNN", view="GridCNN", camera="NatureCNN", place="Flatten")
    rows = {name: th.as_tensor(space.sample()[None]).float() for name, space in parts.items()}
    assert extractor(rows).shape == (1, extractor.features_dim) == (1, 3 * 8 + 2)
    th.manual_seed(0)
    ours = GridCombinedExtractor(spaces.Dict(camera=parts["camera"], place=parts["place"]))
    th.manual_seed(0)
    theirs = CombinedExtractor(spaces.Dict(camera=parts["camera"], place=parts["place"]))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        assert th.equal(ours.state_dict()[name], weight)


@pytest.mark.parametrize("policy", ["CnnPolicy", "MultiInputPolicy"])
def test_discrete_sac_learns_from_a_board_and_is_loaded_again(policy: str, tmp_path: Any) -> None:
    space: spaces.Space = BOARD if policy == "CnnPolicy" else spaces.Dict(board=BOARD)
    agent = DiscreteSAC(policy, RandomEnv(space, spaces.Discrete(3)), **DiscreteSAC.smallest)
    agent.learn(30)
    extractor = agent.actor.features_extractor
    assert "GridCNN" in {type(module).__name__ for module in extractor.modules()}
    space.seed(0)
    obs = space.sample()
    agent.save(tmp_path / "agent")
    agent.policy.save(tmp_path / "policy")
    loaded = DiscreteSAC.load(tmp_path / "agent")
    policy_alone = type(agent.policy).load(tmp_path / "policy")
    expected = agent.predict(obs, deterministic=True)[0]
    assert loaded.predict(obs, deterministic=True)[0] == expected
    assert policy_alone.predict(obs, deterministic=True)[0] == expected


def test_agents_of_sb3_can_have_it() -> None:
    env = RandomEnv(BOARD, spaces.Discrete(3))
    settings = dict(features_extractor_class=GridCNN)
    dqn = DQN("CnnPolicy", env, buffer_size=99, learning_starts=9, policy_kwargs=settings)
    assert dqn.learn(32).num_timesteps == 32
    assert isinstance(dqn.q_net.features_extractor, GridCNN)
