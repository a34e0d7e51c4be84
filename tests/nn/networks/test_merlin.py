"""MERLIN's encoder and decoder: shapes of the paper, and losses that are sums of what is seen."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from dreamzoo.nn.networks.merlin import Bottleneck, ImageNet, MerlinDecoder, MerlinEncoder
from dreamzoo.nn.observations import ObservationCodec

EVERYTHING = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (3, 64, 64), np.uint8),
        "small": spaces.Box(0, 255, (1, 40, 48), np.uint8),
        "board": spaces.Box(0, 1, (5, 10, 2), bool),
        "vector": spaces.Box(-2, 2, (3,), np.float32),
        "integers": spaces.MultiDiscrete([3, 2]),
        "bits": spaces.MultiBinary(4),
    }
)
N, Z = 2, 5


def _inputs(codec: ObservationCodec) -> dict[str, Tensor]:
    space = codec.space
    space.seed(0)
    samples: Any = [space.sample() for _ in range(N)]
    return codec.encode({k: th.as_tensor(np.stack([s[k] for s in samples])) for k in samples[0]})


@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_all_kinds_of_observations_are_encoded_and_decoded(kind: ImageNet) -> None:
    codec = ObservationCodec(EVERYTHING)
    encoder = MerlinEncoder(codec, [6, 4], kind, image_features=7)
    decoder = MerlinDecoder(codec, Z, kind, image_features=7)
    inputs = _inputs(codec)
    tokens = encoder(inputs)
    assert tokens.shape == (N, encoder.features_dim) == (N, 7 + 7 + 4)
    said = decoder(th.randn(N, Z))
    shapes = {k: tuple(x.shape[1:]) for k, x in said.items()}
    assert shapes["image"] == (3, 64, 64)
    assert shapes["small"] == (1, 64, 64)
    assert shapes["board"] == (2, 5, 10)
    assert (shapes["vector"], shapes["integers"], shapes["bits"]) == ((3,), (5,), (4,))
    losses = decoder.loss(said, inputs)
    assert losses.keys() == inputs.keys()
    assert {tuple(x.shape) for x in losses.values()} == {(N,)}
    values = decoder.most_likely(said)
    assert values["small"].shape == (N, 1, 40, 48)
    for name in ("image", "small", "board", "bits"):
        assert ((values[name] >= 0) & (values[name] <= 1)).all()


@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_every_layer_of_both_learns(kind: ImageNet) -> None:
    codec = ObservationCodec(EVERYTHING)
    encoder = MerlinEncoder(codec, [6, 4], kind, image_features=7)
    decoder = MerlinDecoder(codec, encoder.features_dim, kind, image_features=7)
    inputs = _inputs(codec)
    loss = sum(decoder.loss(decoder(encoder(inputs)), inputs).values(), th.zeros(N)).sum()
    for gradient in th.autograd.grad(loss, [*encoder.parameters(), *decoder.parameters()]):
        assert gradient.any()


def test_losses_are_sums_over_what_is_seen() -> None:
    """Pitfall 6: a mean over pixels would shrink them ten thousandfold against all else."""
    codec = ObservationCodec(EVERYTHING)
    decoder, inputs = MerlinDecoder(codec, Z), _inputs(codec)
    said = {k: x.double() for k, x in decoder(th.randn(N, Z)).items()}
    targets = {k: x.double() for k, x in inputs.items()}
    losses = decoder.loss(said, targets)
    for name in ("image", "bits"):
        p, y = th.sigmoid(said[name]), targets[name]
        expected = -(y * p.log() + (1 - y) * (1 - p).log()).flatten(1).sum(1)
        th.testing.assert_close(losses[name], expected)
    # A board's cells count as the 64 * 64 pixels that it would be enlarged to.
    cells = th.nn.functional.binary_cross_entropy_with_logits(
        said["board"], targets["board"], reduction="none"
    )
    enlarged = cells.flatten(1).sum(1) * 64 * 64 / (5 * 10)
    th.testing.assert_close(losses["board"], enlarged)
    th.testing.assert_close(
        losses["vector"], 0.5 * (said["vector"] - targets["vector"]).square().sum(1)
    )
    parts = [
        -(a.softmax(-1).log() * b).sum(-1)
        for a, b in zip(
            said["integers"].split([3, 2], -1), targets["integers"].split([3, 2], -1), strict=True
        )
    ]
    th.testing.assert_close(losses["integers"], parts[0] + parts[1])


def test_small_images_are_resized_for_the_network_and_their_loss() -> None:
    codec = ObservationCodec(spaces.Dict(small=EVERYTHING["small"]))
    decoder = MerlinDecoder(codec, Z)
    inputs = {"small": th.rand(N, 1, 40, 48)}
    logits = {"small": th.zeros(N, 1, 64, 64)}
    assert MerlinEncoder(codec)(inputs).shape == (N, 128)
    expected = th.full((N,), 64 * 64 * float(np.log(2)))
    th.testing.assert_close(decoder.loss(logits, inputs)["small"], expected)


def test_the_residual_network_is_that_of_the_paper() -> None:
    """Six blocks of 64, 32 and 64 channels, three of stride 2, to 8x8; its code is a tanh."""
    codec = ObservationCodec(spaces.Dict(image=EVERYTHING["image"]))
    encoder = MerlinEncoder(codec, image_net="residual", image_features=500)
    assert encoder.cnn is not None
    blocks = [m for m in encoder.cnn if isinstance(m, Bottleneck)]
    assert [block.body[0].stride for block in blocks] == [(2, 2), (1, 1)] * 3
    assert [block.body[2].kernel_size for block in blocks] == [(3, 3)] * 6
    assert {(m.body[0].out_channels, m.body[4].out_channels) for m in blocks} == {(32, 64)}
    flat = [m for m in encoder.cnn if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in flat] == [(4096, 500)]
    assert isinstance(encoder.cnn[-1], nn.Tanh)
    assert not [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert encoder({"image": 1e3 * th.rand(1, 3, 64, 64)}).abs().max() <= 1.0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("grow", [False, True])
def test_a_block_adds_what_it_computes_to_what_it_was_given(stride: int, grow: bool) -> None:
    block = Bottleneck(64, stride, grow=grow)
    x = th.rand(1, 64, 8, 8)
    with th.no_grad():
        for p in block.body.parameters():
            p.zero_()
        out = block(x)
    size = 8 * stride if grow else 8 // stride
    assert out.shape == (1, 64, size, size)
    assert isinstance(block.shortcut, nn.Identity) == (stride == 1)
    th.testing.assert_close(out, th.relu(block.shortcut(x)))
    if stride == 1:
        assert th.equal(out, x)


def test_vectors_are_read_by_layers_of_relu_or_as_they_are() -> None:
    codec = ObservationCodec(spaces.Box(-2, 2, (3,), np.float32))
    x = th.randn(N, 3)
    encoder = MerlinEncoder(codec, [6, 4])
    assert encoder.mlp is not None
    first, _, last, _ = encoder.mlp
    expected = th.relu(last(th.relu(first(x))))
    th.testing.assert_close(encoder(codec.encode(x)), expected)
    bare = MerlinEncoder(codec, [])
    assert bare.features_dim == 3
    assert th.equal(bare(codec.encode(x)), x)
