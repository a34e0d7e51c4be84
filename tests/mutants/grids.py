"""Mistakes in how small images and boards are recognized, read, predicted and drawn."""

from tests.mutants.mutant import Mutant

GRIDS, OBS = "zoo/nn/networks/grids.py", "zoo/nn/observations.py"
WORLD_MODELS, ENCODERS = "zoo/nn/networks/world_models.py", "zoo/nn/networks/encoders.py"
MERLIN = "zoo/nn/networks/merlin.py"
DECODERS, CHECKS = "zoo/nn/networks/decoders.py", "zoo/nn/checks.py"
RENDERING, EXTRACTORS = "envs/dreams/rendering.py", "zoo/discrete_sac/extractors.py"
OF_GRIDS = ("tests/nn/networks/test_grids.py",)
OF_OBS = ("tests/nn/test_observations.py",)

MUTANTS = [
    Mutant(
        "grids: an odd side is rounded down",
        GRIDS,
        "return -(-n // 2) if n > CODE_SIDE else n",
        "return n // 2 if n > CODE_SIDE else n",
        OF_GRIDS,
    ),
    Mutant(
        "grids: strides of height and width are those of the height",
        GRIDS,
        "stride = tuple(1 if a == b else 2 for a, b in zip(large, small, strict=True))",
        "stride = (1 if large[0] == small[0] else 2,) * 2",
        OF_GRIDS,
    ),
    Mutant(
        "grids: what was cropped is not",
        GRIDS,
        "[..., : self.height, : self.width]",
        "[..., :, :]",
        OF_GRIDS,
    ),
    Mutant(
        "grids: nothing follows the first convolution",
        GRIDS,
        "[_conv(channels, depth, style), style.after(depth)]",
        "[_conv(channels, depth, style), nn.Identity()]",
        OF_GRIDS,
    ),
    Mutant(
        "grids: images of 36 pixels are small",
        OBS,
        "min(self.shape[1:]) < PICTURE",
        "min(self.shape[1:]) <= PICTURE",
        OF_GRIDS,
    ),
    Mutant(
        "grids: only the height decides what is small",
        OBS,
        "min(self.shape[1:]) < PICTURE",
        "self.shape[1] < PICTURE",
        OF_GRIDS,
    ),
    Mutant(
        "grids: to MERLIN a board weighs as many pixels as it has",
        MERLIN,
        "total * (math.prod(IMAGE_SIZE) / math.prod(size))",
        "total",
        OF_GRIDS,
    ),
    Mutant(
        "grids: Dreamer V1 and V2 read boards around zero",
        WORLD_MODELS,
        "self.grids({key.name: inputs[key.name] + 0.5 for key in self.grids.keys})",
        "self.grids({key.name: inputs[key.name] for key in self.grids.keys})",
        OF_GRIDS,
    ),
    Mutant(
        "grids: a linear layer alone leads from latents to a board",
        WORLD_MODELS,
        "GridDecoders(codec.image_keys, depth, _grid_style(cnn_activation), mlp)",
        "GridDecoders(codec.image_keys, depth, _grid_style(cnn_activation), "
        "lambda code: GlorotLinear(feat_dim, code))",
        OF_GRIDS,
    ),
    Mutant(
        "grids: DreamerV3 reads boards from zero to one",
        ENCODERS,
        "self.grids({key.name: inputs[key.name] - 0.5 for key in self.grids.keys})",
        "self.grids({key.name: inputs[key.name] for key in self.grids.keys})",
        OF_GRIDS,
    ),
    Mutant(
        "grids: DreamerV3 predicts logits of boards",
        DECODERS,
        "{name: th.sigmoid(x) for name, x in self.grids(feat).items()}",
        "self.grids(feat)",
        OF_GRIDS,
    ),
    Mutant(
        "channels: the axis that differs is not looked for",
        OBS,
        "if first == middle != last or first != middle == last:",
        "if False:",
        OF_OBS,
    ),
    Mutant(
        "channels: of a cube of booleans they come first",
        OBS,
        "last < first or (last == first and space.dtype == bool)",
        "last < first",
        OF_OBS,
    ),
    Mutant(
        "channels: decoded images keep them first",
        OBS,
        "x = image.movedim(-3, -1) if self.channels_last else image",
        "x = image",
        OF_OBS,
    ),
    Mutant(
        "channels: height and width are exchanged",
        OBS,
        "return image.movedim(-1, -3) if self.channels_last else image",
        "return image.transpose(-1, -3) if self.channels_last else image",
        OF_OBS,
    ),
    Mutant(
        "channels: bounds of an extractor's space keep them last",
        OBS,
        "low, high = (np.moveaxis(bound, -1, 0) for bound in",
        "low, high = (bound for bound in",
        OF_OBS,
    ),
    Mutant(
        "boards of booleans are flattened unless asked for",
        OBS,
        "not normalize_images or space.dtype == bool or is_byte_image(space)",
        "not normalize_images or is_byte_image(space)",
        OF_OBS,
    ),
    Mutant(
        "border: a boolean may be anything",
        CHECKS,
        "return Rule(0, 1, words, every=np.dtype(bool))",
        "return Rule(-np.inf, np.inf, words, every=np.dtype(bool))",
        ("tests/nn/test_checks.py",),
    ),
    Mutant(
        "pictures: kinds of objects get one color",
        RENDERING,
        "colorsys.hsv_to_rgb(i / channels, 1.0, 1.0)",
        "colorsys.hsv_to_rgb(0.0, 1.0, 1.0)",
        ("tests/envs/dreams/test_rendering.py",),
    ),
    Mutant(
        "pictures: boards of three kinds are taken for RGB",
        RENDERING,
        "return key.space.dtype == bool or (",
        "return (key.space.dtype == bool and key.shape[0] != 3) or (",
        ("tests/envs/dreams/test_rendering.py",),
    ),
    Mutant(
        "pictures: squares become rectangles",
        RENDERING,
        "shades.repeat(square, axis=-1).repeat(square, axis=-2)",
        "shades.repeat(square, axis=-1)",
        ("tests/envs/dreams/test_rendering.py",),
    ),
    Mutant(
        "images begin in the middle between black and white",
        "zoo/common/world_model_algorithm.py",
        "            self.world_model.start_at(batch.observations)\n",
        "            pass\n",
        ("tests/common/test_first_batch.py",),
    ),
    Mutant(
        "images begin anew at their mean color",
        "zoo/nn/networks/world_models.py",
        "            if not layer.bias.any():\n",
        "            if True:\n",
        ("tests/common/test_first_batch.py", "tests/nn/networks/test_world_models.py"),
    ),
    Mutant(
        "pictures begin in the middle between black and white",
        "zoo/nn/networks/world_models.py",
        "[*last, *((net.layers[-1], group)",
        "[*((net.layers[-1], group)",
        ("tests/nn/networks/test_world_models.py",),
    ),
    Mutant(
        "DiscreteSAC: boards of booleans get NatureCNN",
        EXTRACTORS,
        "return key.is_small or key.channels_last or space.dtype == bool",
        "return key.is_small or key.channels_last",
        ("tests/discrete_sac/test_extractors.py",),
    ),
    Mutant(
        "DiscreteSAC: channels are not moved",
        EXTRACTORS,
        "x = observations.movedim(-1, -3) if self.channels_last else observations",
        "x = observations.transpose(-1, -3) if self.channels_last else observations",
        ("tests/discrete_sac/test_extractors.py",),
    ),
    Mutant(
        "train: agents of SB3 see boards as images that they refuse",
        "zoo/benchmark/run_config.py",
        "is_board = suite in BOARDS and agent in dreamzoo.AGENTS",
        "is_board = suite in BOARDS",
        ("tests/cli/test_train.py",),
    ),
]
