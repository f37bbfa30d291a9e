"""LIP-SPADE: the numbers of the original, a face that does not depend on its neighbours, and the arithmetic of its layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from network_digests import (
    REFERENCE,
    build,
    deviation,
    digest,
    golden_digests,
    golden_outputs,
    golden_picture,
    keys_digest,
    tolerance,
)
from standin_weights import fill_with_standins, shapes_of, standin_state
from torch import nn
from torch.nn import functional

from models.checkpoints import load_sr_net
from models.sr_net import (
    LipSpadeGenerator,
    LocalImportancePooling,
    SpadeBlock,
    SpadeNorm,
    SpectralConv2d,
    fold_spectral_norms,
)

NAME = "lip_spade"
UNUSED = {
    "fc.weight": (768, 3, 3, 3),
    "fc.bias": (768,),
    "to_rgbs.0.weight": (3, 384, 3, 3),
    "to_rgbs.0.bias": (3,),
    "to_rgbs.1.weight": (3, 192, 3, 3),
    "to_rgbs.1.bias": (3,),
    "to_rgbs.2.weight": (3, 96, 3, 3),
    "to_rgbs.2.bias": (3,),
}
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the original's tensors are not at hand")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LipSpadeGenerator:
    """Loaded from a file with all that the released one holds."""
    path = tmp_path_factory.mktemp("checkpoint") / "10_net_G.pth"
    torch.save(standin_state([*shapes_of(build(NAME)), *UNUSED.items()]), path)
    loaded = load_sr_net(path)
    path.unlink()
    return loaded


def test_outputs_are_the_golden_ones(network: LipSpadeGenerator) -> None:
    image = golden_outputs(NAME, network)["image"]
    assert deviation(digest(image), golden_digests()[NAME]["outputs"]["image"]) < tolerance(NAME)


@needs_reference
def test_outputs_of_a_batch_are_those_of_the_original_for_each_alone(network: LipSpadeGenerator) -> None:
    expected = np.load(REFERENCE / "lip_spade.npz")
    with torch.inference_mode():
        image = network(torch.from_numpy(expected["input"])).numpy()
    single = expected["output_train_single"]
    difference = np.abs(image - single).max() / single.std()
    print(f"largest difference {difference:.1e} standard deviations")
    assert difference < tolerance(NAME)


def test_a_face_does_not_depend_on_its_neighbours(network: LipSpadeGenerator) -> None:
    pictures = golden_picture(64, count=3) * 0.5 + 0.5
    with torch.inference_mode():
        first, second, third = network(pictures).split(1)
        alone = network(pictures[:1])
        among_others = network(torch.cat((pictures[2:], pictures[:1], torch.zeros(1, 3, 64, 64))))
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-3)
    torch.testing.assert_close(among_others[1:2], alone, rtol=0, atol=1e-3)
    torch.testing.assert_close(among_others[:1], third, rtol=0, atol=1e-3)
    assert (first - second).abs().mean() > 0.05


def test_results_repeat(network: LipSpadeGenerator) -> None:
    picture = golden_picture(64) * 0.5 + 0.5
    before = picture.clone()
    with torch.inference_mode():
        torch.testing.assert_close(network(picture), network(picture), rtol=0, atol=0)
    torch.testing.assert_close(picture, before, rtol=0, atol=0)


def test_a_loaded_network_has_no_spectral_norm_left(network: LipSpadeGenerator) -> None:
    assert not any(isinstance(module, SpectralConv2d) for module in network.modules())
    assert not any(key.endswith(("weight_orig", "weight_u", "weight_v")) for key in network.state_dict())
    assert isinstance(network.ups[0].conv_s, nn.Conv2d)
    assert not any(module.training for module in network.modules())
    assert not any(each.requires_grad for each in network.parameters())


def test_names_and_shapes_are_those_of_the_checkpoint() -> None:
    assert keys_digest(build(NAME)) == golden_digests()[NAME]["keys"]


@needs_reference
def test_names_and_shapes_are_those_of_the_original() -> None:
    expected = json.loads((REFERENCE / "lip_spade_keys.json").read_text())
    found = {key: list(shape) for key, shape in [*shapes_of(build(NAME)), *UNUSED.items()]}
    assert found == expected


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel_px", [1, 3])
def test_spectral_norm_is_that_of_the_first_call_in_train_mode(kernel_px: int, bias: bool) -> None:
    ours = SpectralConv2d(6, 4, kernel_px, bias=bias)
    fill_with_standins(ours)
    plain = nn.Conv2d(6, 4, kernel_px, padding=kernel_px // 2, bias=bias)
    original = torch.nn.utils.spectral_norm(plain)
    original.load_state_dict(ours.state_dict())
    maps = torch.rand(2, 6, 5, 5)
    expected = original.train()(maps).detach()
    for _ in range(2):
        torch.testing.assert_close(ours(maps), expected)
    torch.testing.assert_close(ours.folded()(maps), expected)


def test_folding_changes_no_result() -> None:
    block = SpadeBlock(6, 4)
    fill_with_standins(block)
    maps, picture = torch.rand(2, 6, 8, 8), torch.rand(2, 3, 32, 32)
    expected = block(maps, picture)
    fold_spectral_norms(block)
    assert "conv_s.weight" in block.state_dict()
    torch.testing.assert_close(block(maps, picture), expected, rtol=0, atol=0)


def test_the_spade_norm_is_batch_norm_in_train_mode_with_one_image() -> None:
    norm = SpadeNorm(6)
    fill_with_standins(norm)
    maps, guide = torch.rand(3, 6, 8, 8), torch.rand(3, 3, 8, 8)
    found = norm(maps, guide)
    for n in range(3):
        one, its_guide = maps[n : n + 1], guide[n : n + 1]
        shared = functional.relu(norm.mlp_shared[0](its_guide))
        normalised = functional.batch_norm(one, None, None, training=True)
        expected = normalised * norm.mlp_gamma(shared) + norm.mlp_beta(shared)
        torch.testing.assert_close(found[n : n + 1], expected)


def pooling() -> LocalImportancePooling:
    layer = LocalImportancePooling(4)
    fill_with_standins(layer)
    return layer


def test_local_importance_pooling_is_the_formula() -> None:
    layer, maps = pooling(), torch.rand(2, 4, 8, 8)
    weight = torch.exp(12 * torch.sigmoid(layer.logit(maps)))
    expected = functional.avg_pool2d(maps * weight, 3, 2, 1) / functional.avg_pool2d(weight, 3, 2, 1)
    torch.testing.assert_close(layer(maps), expected)


def test_local_importance_pooling_bears_half_precision() -> None:
    layer, maps = pooling(), torch.rand(2, 4, 8, 8)
    expected = layer(maps)
    layer.logit[1].weight.mul_(4)  # the importances reach both ends
    assert torch.isfinite(layer.half()(maps.half())).all()
    torch.testing.assert_close(pooling().half()(maps.half()).float(), expected, rtol=0, atol=0.02)


def test_local_importance_pooling_bears_half_precision_where_nothing_matters() -> None:
    layer, maps = pooling(), torch.rand(2, 4, 8, 8).half().float()
    layer.logit[1].weight.zero_()
    layer.logit[1].bias.fill_(-9.0)  # every weight is exp(-12), near the end of half precision
    torch.testing.assert_close(layer.half()(maps.half()).float(), layer.float()(maps), rtol=1e-3, atol=0)
