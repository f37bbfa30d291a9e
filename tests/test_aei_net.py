"""AEI-Net: names and shapes of the released checkpoints, the numbers of the original, and the arithmetic of its layers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from network_digests import (
    REFERENCE,
    VARIANTS,
    build,
    deviation,
    digest,
    golden_digests,
    golden_outputs,
    keys_digest,
    tolerance,
)
from standin_weights import fill_with_standins, shapes_of
from torch import nn

from models.aad import AADBlock, AADLayer
from models.aei_net import AEI_Net

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the original's tensors are not at hand")
QUICK = {"unet_2", "resnet_1"}  # the variant that is used most, and the smallest
SIDES = (2, 4, 8, 16, 32, 64, 128, 256)
ATTRIBUTE_CHANNELS = {
    "unet": (1024, 2048, 1024, 512, 256, 128, 64, 64),
    "linknet": (1024, 1024, 512, 256, 128, 64, 32, 32),
    "resnet": (1024, 2048, 1024, 512, 256, 128, 64, 64),
}
PARAMETERS = {"unet_1": 128.5e6, "unet_2": 184.3e6, "unet_3": 240.2e6}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in VARIANTS],
)
def filled(request: pytest.FixtureRequest) -> Iterator[tuple[str, nn.Module]]:
    """Each variant with its stand-in weights, one at a time in memory."""
    network = build(request.param)
    fill_with_standins(network)
    yield request.param, network
    network.to("meta")


def test_outputs_are_the_golden_ones(filled: tuple[str, nn.Module]) -> None:
    name, network = filled
    golden = golden_digests()[name]["outputs"]
    outputs = golden_outputs(name, network)
    assert list(outputs) == list(golden)
    for key, array in outputs.items():
        assert deviation(digest(array), golden[key]) < tolerance(name), key


@needs_reference
def test_outputs_are_those_of_the_original(filled: tuple[str, nn.Module]) -> None:
    name, network = filled
    given = np.load(REFERENCE / "aei_net_input.npz")
    expected = np.load(REFERENCE / f"aei_net_{name}blocks.npz")
    with torch.inference_mode():
        image, attributes = network(torch.from_numpy(given["target"]), torch.from_numpy(given["identity"]))
    difference = np.abs(image[:, :, ::2, ::2].numpy() - expected["output"]).max() / expected["output"].std()
    print(f"{name}: largest difference {difference:.1e} standard deviations")
    assert difference < tolerance(name)
    means = np.array([float(each.double().mean()) for each in attributes])
    stds = np.array([float(each.double().std()) for each in attributes])
    np.testing.assert_array_less(np.abs(means - expected["attribute_means"]), 1e-3 * expected["attribute_stds"])
    np.testing.assert_allclose(stds, expected["attribute_stds"], rtol=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_shapes_are_those_of_the_checkpoints(name: str) -> None:
    network = build(name)
    assert keys_digest(network) == golden_digests()[name]["keys"]
    if name in PARAMETERS:
        assert sum(each.numel() for each in network.parameters()) == pytest.approx(PARAMETERS[name], rel=1e-3)


@needs_reference
@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_shapes_are_those_of_the_original(name: str) -> None:
    expected = json.loads((REFERENCE / "aei_net_keys.json").read_text())[name]
    assert {key: list(shape) for key, shape in shapes_of(build(name))} == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_of_the_outputs(name: str) -> None:
    network = build(name)
    image, attributes = network(torch.empty(5, 3, 256, 256, device="meta"), torch.empty(5, 512, device="meta"))
    assert image.shape == (5, 3, 256, 256)
    channels = ATTRIBUTE_CHANNELS[name.partition("_")[0]]
    assert [tuple(each.shape) for each in attributes] == [
        (5, width, side, side) for width, side in zip(channels, SIDES, strict=True)
    ]
    assert network.encoder.attribute_channels == channels


@pytest.mark.parametrize(("backbone", "num_blocks"), [("vgg", 2), ("unet", 0), ("unet", 4), ("", 1)])
def test_variants_that_do_not_exist(backbone: str, num_blocks: int) -> None:
    with pytest.raises(ValueError, match="is none of"), torch.device("meta"):
        AEI_Net(backbone, num_blocks)


def test_an_identity_of_another_length() -> None:
    with torch.device("meta"):
        network = AEI_Net("linknet", 1, c_id=256)
    assert network.generator.up1.weight.shape == (256, 1024, 2, 2)
    assert network.generator.AADBlk8.last_add_block[0].fc2.weight.shape == (64, 256)


def test_the_aad_layer_is_the_formula() -> None:
    layer = AADLayer(channels=6, attribute_channels=4, c_id=5)
    fill_with_standins(layer)
    random = torch.Generator().manual_seed(0)
    h, attribute, identity = (torch.randn(shape, generator=random) for shape in ((2, 6, 8, 8), (2, 4, 8, 8), (2, 5)))
    with torch.inference_mode():
        found = layer(h, attribute, identity)
        mean = h.mean((2, 3), keepdim=True)
        normalised = (h - mean) / torch.sqrt(h.var((2, 3), unbiased=False, keepdim=True) + 1e-5)
        m = torch.sigmoid(layer.conv_h(normalised))
        by_attribute = layer.conv1(attribute) * normalised + layer.conv2(attribute)
        by_identity = layer.fc1(identity).reshape(2, 6, 1, 1) * normalised + layer.fc2(identity).reshape(2, 6, 1, 1)
        expected = (1 - m) * by_attribute + m * by_identity
    assert m.shape == (2, 1, 8, 8)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("c_out", "has_branch"), [(6, False), (3, True)])
def test_the_shortcut_has_layers_only_where_the_channels_change(c_out: int, has_branch: bool) -> None:
    block = AADBlock(c_in=6, c_out=c_out, attribute_channels=4, c_id=5, num_blocks=2)
    fill_with_standins(block)
    assert (block.last_add_block is not None) == has_branch
    h, attribute, identity = torch.rand(1, 6, 4, 4), torch.rand(1, 4, 4, 4), torch.rand(1, 5)
    before = h.clone()
    with torch.inference_mode():
        shortcut = block.last_add_block(h, attribute, identity) if has_branch else h
        expected = shortcut + block.add_blocks(h, attribute, identity)
        torch.testing.assert_close(block(h, attribute, identity), expected)
    torch.testing.assert_close(h, before, rtol=0, atol=0)  # nothing is overwritten in place


def test_a_batch_gives_what_each_face_gives_alone() -> None:
    block = AADBlock(c_in=6, c_out=3, attribute_channels=4, c_id=5, num_blocks=3)
    fill_with_standins(block)
    given = torch.rand(4, 6, 8, 8), torch.rand(4, 4, 8, 8), torch.rand(4, 5)
    with torch.inference_mode():
        together = block(*given)
        alone = torch.cat([block(*(each[n : n + 1] for each in given)) for n in range(4)])
    torch.testing.assert_close(together, alone)
