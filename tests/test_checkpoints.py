"""Checkpoints: sound ones load, all others are refused with one line that names the file, and no file gets to run code."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_digests import VARIANTS, build
from standin_weights import shapes_of
from torch import Tensor, nn

from models.checkpoints import (
    infer_aei_variant,
    load_aei_net,
    load_iresnet100,
    load_sr_net,
    read_checkpoint,
)
from utils.errors import BadArgument, ModelFileError

State = dict[str, Tensor]


def hollow_state(name: str) -> State:
    """A state dict with the right names and shapes whose tensors are views of a single number: a file of it is small."""
    return {
        key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in build(name).state_dict().items()
    }


@pytest.fixture(scope="module")
def iresnet() -> State:
    return hollow_state("iresnet100")


@pytest.fixture(scope="module")
def unet() -> State:
    return hollow_state("unet_1")


@pytest.fixture(scope="module")
def lip_spade() -> State:
    return hollow_state("lip_spade")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def refusal(path: Path, load: Callable[[Path], object]) -> str:
    """The line with which `load` refuses the file; a warning would be a second line for the user to read."""
    with warnings.catch_warnings(), pytest.raises(ModelFileError) as error:
        warnings.simplefilter("error")
        load(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{str(path)!r} ")
    assert "download GHOST's " in message
    assert error.value.exit_code == 5
    return message


LOADERS = [load_aei_net, load_iresnet100, load_sr_net]


# -- files that are no sound checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("load", LOADERS)
def test_a_missing_file(path: Path, load: Callable[[Path], object]) -> None:
    assert "is missing" in refusal(path, load)


@pytest.mark.parametrize("load", LOADERS)
def test_a_folder(tmp_path: Path, load: Callable[[Path], object]) -> None:
    assert "cannot be read (" in refusal(tmp_path, load)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04", b"<!DOCTYPE html><html>", b"\x80\x02.", bytes(range(256)) * 20]
)
def test_files_of_another_kind(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "damaged" in refusal(path, load_iresnet100)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file(path: Path, iresnet: State, kept: float, zipped: bool) -> None:
    torch.save(iresnet, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "damaged" in refusal(path, load_iresnet100)


def test_one_changed_bit_of_a_value(path: Path) -> None:
    torch.save({"weight": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"\x00\x00\x80\x3f" * 1000) + 1700] ^= 1
    path.write_bytes(content)
    assert re.search(r"is damaged \(the checksum of '\w+/data/0' differs\)", refusal(path, read_checkpoint))


def test_an_archive_without_checksums_is_read(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(path)["weight"].tolist() == [1, 1, 1]


def test_a_compressed_archive_is_refused(path: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(100_000)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.namelist():
            packed.writestr(member, plain.read(member))
    assert "its members are compressed" in refusal(path, read_checkpoint)


class Trap:
    """What a hostile checkpoint may hold: unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("load", LOADERS)
def test_code_is_never_run(path: Path, tmp_path: Path, load: Callable[[Path], object], zipped: bool) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"weight": torch.ones(1), "trap": Trap(sprung)}, path, _use_new_zipfile_serialization=zipped)
    assert "carries code ('posix.mkdir'), which is never run" in refusal(path, load).replace("nt.mkdir", "posix.mkdir")
    assert not sprung.exists()


def test_a_whole_module_is_code(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)
    assert "carries code ('torch.nn.modules.linear.Linear')" in refusal(path, read_checkpoint)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([torch.ones(1)], "holds no table of tensors"),
        (torch.ones(1), "holds no table of tensors"),
        ({}, "holds no table of tensors"),
        ({"state_dict": {}}, "holds no table of tensors"),
        ({"epoch": 3}, "holds 'epoch', which is no named plain tensor"),
        ({3: torch.ones(1)}, "holds 3, which is no named plain tensor"),
        ({"a\nb": None}, r"holds 'a\nb', which is no named plain tensor"),
        ({"x" * 1000: None}, f"holds '{'x' * 99}..., which is no named plain tensor"),
        ({"weight": torch.eye(3).to_sparse()}, "holds 'weight', which is no named plain tensor"),
        ({"weight": torch.empty(3, device="meta")}, "holds 'weight', which is no named plain tensor"),
        ({"state_dict": {"epoch": 3}}, "holds 'epoch', which is no named plain tensor"),
    ],
)
def test_content_that_is_no_table_of_tensors(path: Path, content: object, what: str) -> None:
    torch.save(content, path)
    assert what in refusal(path, read_checkpoint)


SMALL = {"first": torch.arange(6.0).reshape(2, 3), "second": torch.arange(3)}


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    folder = tmp_path_factory.mktemp("small")
    for zipped in (True, False):
        torch.save(SMALL, folder / str(zipped), _use_new_zipfile_serialization=zipped)
    return {zipped: (folder / str(zipped)).read_bytes() for zipped in (True, False)}


@settings(max_examples=150)
@given(zipped=st.booleans(), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_any_damage_is_refused_or_harmless(
    small_files: dict[bool, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    zipped: bool,
    place: float,
    bit: int,
    cut: bool,
) -> None:
    content = bytearray(small_files[zipped])
    at = int(place * len(content))
    content[at] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content[:at] if cut else content)
    try:
        state = read_checkpoint(path)
    except ModelFileError as error:
        assert "\n" not in str(error)
        return
    assert not cut
    if zipped:  # names may lose their meaning in the older format, values never in this one
        assert {key: value.tolist() for key, value in state.items()} == {
            key: value.tolist() for key, value in SMALL.items()
        }


# -- tables that do not fit ---------------------------------------------------------------------------------------


def test_a_missing_key(path: Path, iresnet: State) -> None:
    state = dict(iresnet)
    del state["layer3.29.bn2.running_var"]
    torch.save(state, path)
    message = refusal(path, load_iresnet100)
    assert message == (
        f"{str(path)!r} does not hold IResNet-100: 'layer3.29.bn2.running_var' is missing; "
        "download GHOST's backbone.pth again, or name another file"
    )


def test_an_extra_key(path: Path, iresnet: State) -> None:
    torch.save({**iresnet, "head.weight": torch.ones(2)}, path)
    assert "does not hold IResNet-100: 'head.weight' is unexpected;" in refusal(path, load_iresnet100)


def test_a_wrong_shape(path: Path, iresnet: State) -> None:
    torch.save({**iresnet, "fc.weight": torch.ones(512, 1)}, path)
    assert "'fc.weight' has the shape (512, 1) instead of (512, 25088);" in refusal(path, load_iresnet100)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_a_wrong_type(path: Path, iresnet: State, dtype: torch.dtype) -> None:
    torch.save({**iresnet, "fc.bias": torch.ones(512).to(dtype)}, path)
    assert f"'fc.bias' is of the type {dtype} instead of torch.float32;" in refusal(path, load_iresnet100)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite(path: Path, iresnet: State, value: float) -> None:
    broken = torch.zeros(64, 3, 3, 3)
    broken[5, 0, 1, 2] = value
    torch.save({**iresnet, "conv1.weight": broken}, path)
    assert "'conv1.weight' has values that are not finite" in refusal(path, load_iresnet100)


def test_networks_taken_for_one_another(path: Path, iresnet: State, unet: State, lip_spade: State) -> None:
    torch.save(unet, path)
    message = refusal(path, load_iresnet100)
    assert re.search(r"IResNet-100: 'conv1\.weight' is missing \(the first of 1\d\d\d differences\);", message)
    assert "LIP-SPADE: 'lip_encoder.model.0.weight' is missing" in refusal(path, load_sr_net)
    for state in (iresnet, lip_spade):
        torch.save(state, path)
        message = refusal(path, load_aei_net)
        assert "does not hold AEI-Net: 'generator.AADBlk1.add_blocks.0.conv1.weight' is missing" in message


def test_an_aei_net_with_a_key_missing_too_many_or_misshaped(path: Path, unet: State) -> None:
    lacking = {key: value for key, value in unet.items() if key != "generator.AADBlk5.last_add_block.2.weight"}
    torch.save(lacking, path)
    assert "AEI-Net unet with 1 block: 'generator.AADBlk5.last_add_block.2.weight' is missing;" in refusal(
        path, load_aei_net
    )
    torch.save({**unet, "generator.AADBlk9.weight": torch.ones(1)}, path)
    assert "'generator.AADBlk9.weight' is unexpected;" in refusal(path, load_aei_net)
    torch.save({**unet, "generator.up1.bias": torch.ones(512)}, path)
    assert "'generator.up1.bias' has the shape (512,) instead of (1024,);" in refusal(path, load_aei_net)


def test_what_lip_spade_does_not_use_is_known_by_name(path: Path, lip_spade: State) -> None:
    torch.save({**lip_spade, "fc.weight": torch.ones(1), "to_rgbs.1.bias": torch.ones(3)}, path)
    load_sr_net(path)
    torch.save({**lip_spade, "to_rgbs.4.bias": torch.ones(3)}, path)
    assert "'to_rgbs.4.bias' is unexpected;" in refusal(path, load_sr_net)
    torch.save({**lip_spade, "fcx": torch.ones(3)}, path)
    assert "'fcx' is unexpected;" in refusal(path, load_sr_net)


# -- sound checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        OrderedDict,
        lambda state: {"state_dict": state, "epoch": 7, "optimizer": {"lr": 1e-4, "steps": [1, 2]}},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {
            key: nn.Parameter(value) if value.is_floating_point() else value for key, value in state.items()
        },
        lambda state: {key: value.half() if value.is_floating_point() else value.int() for key, value in state.items()},
    ],
    ids=["ordered", "state_dict", "model and module", "module", "parameters", "half"],
)
def test_the_usual_forms_are_read(path: Path, iresnet: State, wrap: Callable[[State], object]) -> None:
    torch.save(wrap({**iresnet, "fc.bias": torch.arange(512.0)}), path)
    network = load_iresnet100(path)
    assert network.fc.bias.tolist() == list(range(512))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    assert not any(each.requires_grad for each in network.parameters())
    assert all(each.is_contiguous() for each in network.state_dict().values())


def test_the_format_before_pytorch_1_6_is_read(path: Path, iresnet: State) -> None:
    torch.save({**iresnet, "fc.bias": torch.arange(512.0)}, path, _use_new_zipfile_serialization=False)
    assert load_iresnet100(str(path)).fc.bias.tolist() == list(range(512))


def test_a_prefix_on_some_keys_only_is_no_wrapper(path: Path, iresnet: State) -> None:
    torch.save({f"module.{key}" if key.startswith("layer4") else key: value for key, value in iresnet.items()}, path)
    assert "'layer4.0.bn1.weight' is missing" in refusal(path, load_iresnet100)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variant_is_told_from_names_and_shapes(name: str) -> None:
    backbone, num_blocks = name.split("_")
    state = dict(build(name).state_dict())
    assert infer_aei_variant(state) == (backbone, int(num_blocks))
    del state["generator.AADBlk1.add_blocks.0.conv1.weight"]
    assert infer_aei_variant(state) == (backbone, int(num_blocks))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"encoder.deconv2.deconv.weight": None}, "'encoder.deconv2.deconv.weight' is missing"),
        ({"encoder.deconv2.deconv.weight": torch.zeros(7, 2)}, r"has the shape \(7, 2\), which fits none of"),
        ({"encoder.deconv2.deconv.weight": torch.zeros(())}, r"has the shape \(\), which fits none of"),
        ({"generator.AADBlk2.add_blocks.9.fc1.bias": torch.zeros(1)}, "4 AAD layers in a block, not 1 or 2 or 3"),
    ],
)
def test_a_variant_that_does_not_exist(unet: State, changes: dict[str, Tensor | None], what: str) -> None:
    state = {key: value for key, value in {**unet, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=what):
        infer_aei_variant(state)


@pytest.mark.parametrize(
    ("backbone", "num_blocks", "what"),
    [
        ("linknet", None, "--backbone linknet contradicts"),
        ("unet", 2, "--num_blocks 2 contradicts"),
        (None, 3, "--num_blocks 3 contradicts"),
        ("vgg", 1, "--backbone vgg contradicts"),
    ],
)
def test_flags_that_contradict_the_file(
    path: Path, unet: State, backbone: str | None, num_blocks: int | None, what: str
) -> None:
    torch.save(unet, path)
    with pytest.raises(BadArgument) as error:
        load_aei_net(path, backbone, num_blocks)
    message = str(error.value)
    assert message.startswith(f"{what} {str(path)!r}, which holds AEI-Net unet with 1 block; leave ")
    assert "\n" not in message


def test_an_aei_net_is_loaded_ready_for_inference(path: Path) -> None:
    state = hollow_state("resnet_1")
    torch.save({**state, "generator.up1.bias": torch.arange(1024.0)}, path)
    for said in ((None, None), ("resnet", 1)):
        network = load_aei_net(path, *said)
        assert network.generator.up1.bias.tolist() == list(range(1024))
        assert not any(module.training for module in network.modules())
        assert not any(each.requires_grad for each in network.parameters())
        assert shapes_of(network) == [(key, tuple(value.shape)) for key, value in state.items()]
