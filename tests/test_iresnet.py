"""IResNet-100: names and shapes of the released checkpoint, and the numbers of the original, by way of a checkpoint file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from network_digests import REFERENCE, build, deviation, digest, golden_digests, golden_outputs, keys_digest, tolerance
from standin_weights import shapes_of, write_standin_checkpoint

from arcface_model.iresnet import IResNet
from models.checkpoints import load_iresnet100

NAME = "iresnet100"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the original's tensors are not at hand")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> IResNet:
    path = tmp_path_factory.mktemp("checkpoint") / "backbone.pth"
    write_standin_checkpoint(path, build(NAME))
    loaded = load_iresnet100(path)
    path.unlink()
    return loaded


def test_outputs_are_the_golden_ones(network: IResNet) -> None:
    embedding = golden_outputs(NAME, network)["embedding"]
    assert deviation(digest(embedding), golden_digests()[NAME]["outputs"]["embedding"]) < tolerance(NAME)


@needs_reference
def test_outputs_are_those_of_the_original(network: IResNet) -> None:
    expected = np.load(REFERENCE / "iresnet100.npz")
    with torch.inference_mode():
        embedding = network(torch.from_numpy(expected["input"])).numpy()
    difference = np.abs(embedding - expected["embedding"]).max() / expected["embedding"].std()
    print(f"largest difference {difference:.1e} standard deviations")
    assert difference < tolerance(NAME)


def test_a_loaded_network_is_ready(network: IResNet) -> None:
    assert not any(module.training for module in network.modules())
    assert not any(each.requires_grad for each in network.parameters())
    tensors = network.state_dict().values()
    assert {each.device.type for each in tensors} == {"cpu"}
    assert {each.dtype for each in tensors} == {torch.float32, torch.int64}


def test_the_picture_is_not_changed(network: IResNet) -> None:
    face = torch.rand(1, 3, 112, 112)
    before = face.clone()
    with torch.inference_mode():
        assert network(face).shape == (1, 512)
    torch.testing.assert_close(face, before, rtol=0, atol=0)


def test_names_and_shapes_are_those_of_the_checkpoint() -> None:
    network = build(NAME)
    assert keys_digest(network) == golden_digests()[NAME]["keys"]
    assert [len(network.get_submodule(f"layer{n}")) for n in (1, 2, 3, 4)] == [3, 13, 30, 3]


@needs_reference
def test_names_and_shapes_are_those_of_the_original() -> None:
    expected = json.loads((REFERENCE / "iresnet100_keys.json").read_text())
    assert {key: list(shape) for key, shape in shapes_of(build(NAME))} == expected
