"""Batches and networks for tests of Dreamer V1's and V2's losses."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.nn.action_distributions import TanhNormalActions, TruncatedNormalActions
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.dreamer_model import DreamerWorldModel
from dreamzoo.nn.networks.actors import DenseActor, DenseHead
from dreamzoo.nn.networks.world_models import (
    Endless,
    NormalHead,
    WorldModelsDecoder,
    WorldModelsEncoder,
)
from dreamzoo.nn.observations import Observation, ObservationCodec
from dreamzoo.nn.rssm.dynamics import Dynamics
from dreamzoo.nn.world_model import Filtered
from tests.oracles import Record, Row

VECTOR = spaces.Box(-2, 2, (3,), np.float32)
EVERYTHING = spaces.Dict(
    {
        "vector": VECTOR,
        "image": spaces.Box(0, 255, (3, 64, 64), np.uint8),
        "integer": spaces.Discrete(4, start=2),
    }
)
ACTIONS: dict[str, spaces.Space] = {
    "box": spaces.Box(-1, 1, (2,)),
    "discrete": spaces.Discrete(3),
    "multi": spaces.MultiDiscrete([3, 2]),
}
UNITS, DEPTH = 7, 2


class Batch(NamedTuple):
    """
    What an update trains on, as tensors.

    :param observations: (B, T, ...)
    :param actions: that led to each step, as the dynamics read them, (B, T, A)
    :param rewards: (B, T)
    :param is_first: (B, T)
    :param is_terminal: (B, T)
    """

    observations: Observation
    actions: Tensor
    rewards: Tensor
    is_first: Tensor
    is_terminal: Tensor


def make_rows(
    observations: spaces.Space, actions: spaces.Space, batch: int, length: int, seed: int
) -> list[Row]:
    """Make rows of random records; episodes begin and end on the way, for good or not."""
    rng = np.random.default_rng(seed)
    codec = ActionCodec(actions)
    observations = deepcopy(observations)
    observations.seed(seed)
    is_dict = isinstance(observations, spaces.Dict)
    rows = []
    for _ in range(batch):
        records: list[Record] = []
        for _ in range(length):
            first = bool(records and records[-1].last)
            last = bool(rng.random() < 0.3 and not first)
            terminal = last and bool(rng.random() < 0.6)
            sample = observations.sample()
            obs = dict(sample) if is_dict else {"": np.asarray(sample)}
            action = (
                rng.normal(size=codec.dim).clip(-1, 1).astype(np.float32)
                if not codec.is_discrete
                else rng.integers(codec.sizes)
            )
            reward = 0.0 if first else float(np.float32(rng.normal()))
            records.append(Record(obs, reward, first, last, terminal, action, ()))
        rows.append(Row(None, records))
    return rows


def to_batch(rows: list[Row], actions: spaces.Space) -> Batch:
    """Lay rows out as tensors; actions of starts stay what they are, models must mask them."""
    codec = ActionCodec(actions)
    length = range(len(rows[0].records))

    def stack(values: Iterable[Iterable[Any]]) -> Tensor:
        return th.as_tensor(np.stack([np.stack(list(row)) for row in values]))

    def part(key: str) -> Tensor:
        return stack((record.obs[key] for record in row.records) for row in rows)

    keys = list(rows[0].records[0].obs)
    led = [[row.action_before(t) if t else row.records[0].action for t in length] for row in rows]
    return Batch(
        part("") if keys == [""] else {key: part(key) for key in keys},
        codec.encode(stack(led)),
        stack((r.reward for r in row.records) for row in rows).float(),
        stack((row.is_first(t) for t in length) for row in rows),
        stack((r.terminal for r in row.records) for row in rows),
    )


class Networks(nn.Module):
    """
    All that an agent trains, under the names that its policy gives them.

    :param observations: observation space
    :param actions: action space
    :param dynamics: from the widths of tokens and actions to a state-space model
    :param continuous: how an actor draws numbers
    :param use_cont: whether a head predicts the discount
    :param cnn_activation: of the convolutions
    """

    def __init__(
        self,
        observations: spaces.Space,
        actions: spaces.Space,
        dynamics: Any,
        continuous: type[TanhNormalActions] | type[TruncatedNormalActions],
        *,
        use_cont: bool,
        gamma: float,
        cnn_activation: Any = "relu",
    ) -> None:
        super().__init__()
        codec, acting = ObservationCodec(observations), ActionCodec(actions)
        encoder = WorldModelsEncoder(codec, DEPTH, UNITS, cnn_activation, "elu")
        model: Dynamics = dynamics(encoder.features_dim, acting.dim)
        feat = model.deter + model.stoch * model.classes
        self.world_model = DreamerWorldModel(
            codec,
            encoder,
            model,
            WorldModelsDecoder(codec, feat, DEPTH, UNITS, cnn_activation, "elu"),
            NormalHead(feat, [5, 4], "elu"),
            DenseHead(feat, 1, [5]) if use_cont else Endless(),
            acting.dim,
            gamma if use_cont else 1.0,
        )
        self.actor = DenseActor(feat, [6, 5], acting, continuous)
        self.critic = NormalHead(feat, [6], "elu")
        self.critic_target = NormalHead(feat, [6], "elu")
        generator = th.Generator().manual_seed(1)
        with th.no_grad():
            for name, p in self.named_parameters():
                share = 0.1 if "cnn" in name else 0.3  # many pixels
                p.add_(share * th.randn(p.shape, generator=generator))

    def filter(self, batch: Batch) -> Filtered:
        start = self.world_model.initial(len(batch.rewards))
        return self.world_model.observe_sequence(
            start, batch.actions, batch.observations, batch.is_first
        )
