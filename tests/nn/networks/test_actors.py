"""Sizes of Dreamer V1's and V2's networks to the digit, and what their policies return."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from dreamzoo.nn.action_distributions import (
    OneHotActions,
    TanhNormalActions,
    TruncatedNormalActions,
)
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.networks.actors import DenseActor, DenseHead
from dreamzoo.nn.networks.world_models import NormalHead, WorldModelsDecoder, WorldModelsEncoder
from dreamzoo.nn.observations import ObservationCodec
from dreamzoo.nn.rssm.categorical import LayerNormRSSM
from dreamzoo.nn.rssm.gaussian import GaussianRSSM
from dreamzoo.nn.rssm.latents import NormalLatents

WALKER = spaces.Box(-1, 1, (6,))


def _count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _images(channels: int) -> ObservationCodec:
    return ObservationCodec(spaces.Box(0, 255, (channels, 64, 64), np.uint8))


def test_parameter_counts_of_dreamer_v1_on_walker() -> None:
    """Those of the log in danijar/dreamer, issue 58."""
    codec, feat = _images(3), 230
    encoder = WorldModelsEncoder(codec, 32, cnn_activation="relu")
    decoder = WorldModelsDecoder(codec, feat, 32, cnn_activation="relu")
    dynamics = GaussianRSSM(encoder.features_dim, 6, 200, 30, 200, "elu")
    reward = NormalHead(feat, [400] * 2, "elu")
    actor = DenseActor(feat, [400] * 4, ActionCodec(WALKER), TanhNormalActions)
    value = NormalHead(feat, [400] * 3, "elu")
    assert _count(encoder, decoder, dynamics, reward) == 5_296_820
    assert _count(actor) == 578_412
    assert _count(value) == 413_601


@pytest.mark.parametrize(
    ("channels", "deter", "actions", "expected"),
    [
        (1, 600, spaces.Discrete(18), (19_975_379, 1_138_418, 1_131_601)),  # Atari
        (3, 200, WALKER, (13_656_772, 976_012, 971_601)),  # control from pixels: no discount head
    ],
)
def test_parameter_counts_of_dreamer_v2(
    channels: int, deter: int, actions: spaces.Space, expected: tuple[int, int, int]
) -> None:
    codec, feat, acting = _images(channels), deter + 32 * 32, ActionCodec(actions)
    encoder = WorldModelsEncoder(codec, 48, cnn_activation="elu")
    model: list[nn.Module] = [
        encoder,
        WorldModelsDecoder(codec, feat, 48, cnn_activation="elu"),
        LayerNormRSSM(encoder.features_dim, acting.dim, deter, deter),
        NormalHead(feat, [400] * 4, "elu"),
    ]
    if acting.is_discrete:
        model.append(DenseHead(feat, 1, [400] * 4))
    actor = DenseActor(feat, [400] * 4, acting, TruncatedNormalActions)
    critic = NormalHead(feat, [400] * 4, "elu")
    assert (_count(*model), _count(actor), _count(critic)) == expected


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("beside_images", [True, False])
def test_vectors_have_as_many_layers_as_asked_for(layers: int, beside_images: bool) -> None:
    """DreamerV2's code has four of 400."""
    parts: dict[str, spaces.Space] = {"vector": spaces.Box(-1, 1, (17,))}
    if beside_images:
        parts["image"] = spaces.Box(0, 255, (3, 64, 64), np.uint8)
    codec = ObservationCodec(spaces.Dict(parts))
    encoder = WorldModelsEncoder(codec, 2, 400, mlp_layers=layers)
    decoder = WorldModelsDecoder(codec, 30, 2, 400, mlp_layers=layers)
    assert encoder.mlp is not None
    assert decoder.mlp is not None
    square = (layers - 1) * (400 * 400 + 400)
    assert _count(encoder.mlp) == 17 * 400 + 400 + square
    assert _count(decoder.mlp) == 30 * 400 + 400 + square + 400 * 17 + 17
    assert encoder.features_dim == 400 + beside_images * 64


def test_no_discrete_latents_changes_the_latents_heads_alone() -> None:
    base, gaussian = (LayerNormRSSM(8, 3, 5, 6, latents) for latents in (None, NormalLatents(7)))
    assert (base.stoch, base.classes) == (32, 32)
    assert (gaussian.stoch, gaussian.classes) == (7, 1)
    sizes = {
        name: p.shape != base.get_parameter(name).shape for name, p in gaussian.named_parameters()
    }
    changed = {name for name, is_other in sizes.items() if is_other}
    heads = {f"{head}_head.2.{part}" for head in ("prior", "post") for part in ("weight", "bias")}
    assert changed == {"input.0.weight", *heads}


@pytest.mark.parametrize(
    ("space", "continuous", "expected"),
    [
        (WALKER, TanhNormalActions, "TanhNormalActions"),
        (WALKER, TruncatedNormalActions, "TruncatedNormalActions"),
        (spaces.Discrete(4), TanhNormalActions, "OneHotActions"),
        (spaces.MultiDiscrete([3, 2]), TruncatedNormalActions, "OneHotActions"),
    ],
)
def test_actor_draws_what_the_dynamics_read(
    space: spaces.Space,
    continuous: type[TanhNormalActions] | type[TruncatedNormalActions],
    expected: str,
) -> None:
    codec = ActionCodec(space)
    actor = DenseActor(5, [7, 6], codec, continuous)
    feat = th.randn(3, 2, 5)
    policy = actor(feat)
    assert type(policy).__name__ == expected
    generator = th.Generator().manual_seed(0)
    action = policy.sample(generator)
    assert action.shape == (3, 2, codec.dim) == policy.mode().shape
    assert policy.log_prob(action).shape == (3, 2) == policy.entropy().shape
    noise = actor.draw((3, 2), th.Generator().manual_seed(0), feat.device)
    assert th.equal(policy.from_noise(noise), action)
    th.testing.assert_close(actor.distribution(actor.evaluate(feat)).mode(), policy.mode())
    gradients = th.autograd.grad(action.square().sum(), list(actor.parameters()))
    assert all(g.any() for g in gradients)
    if isinstance(policy, OneHotActions):
        assert th.equal(codec.encode(codec.decode(action)), action.detach().round())


@pytest.mark.parametrize("continuous", [TanhNormalActions, TruncatedNormalActions])
def test_the_first_half_of_the_last_layer_is_the_mean(
    continuous: type[TanhNormalActions] | type[TruncatedNormalActions],
) -> None:
    actor = DenseActor(5, [7], ActionCodec(WALKER), continuous)
    feat = th.randn(3, 5)
    policy, raw = actor(feat), actor.out(actor.body(feat))
    assert not isinstance(policy, OneHotActions)
    assert th.equal(policy.raw_mean, raw[:, :6])
    assert th.equal(policy.raw_std, raw[:, 6:])
