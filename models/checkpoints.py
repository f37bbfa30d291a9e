"""From a checkpoint file to a network ready for inference: strictly the released names and shapes, and never code from a file.

What a file must hold is read off the network itself, built without memory on torch's meta device; tensors of the file then become its
parameters without a copy. Networks come out on the CPU in float32, in eval mode, with gradients off. Checksums are utils/weights' concern.
"""

from __future__ import annotations

import errno
import os
import re
import zipfile
from collections.abc import Mapping
from pickle import UnpicklingError
from stat import S_ISREG
from typing import TypeVar

import torch
from torch import Tensor, nn

from arcface_model.iresnet import IResNet, iresnet100
from models.aei_encoders import BACKBONES, Backbone
from models.aei_net import NUM_BLOCKS, AEI_Net
from models.sr_net import UNUSED_IN_CHECKPOINT, LipSpadeGenerator, fold_spectral_norms
from utils.errors import BadArgument, ModelFileError

PathLike = str | os.PathLike[str]

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts put the tensors
PARALLEL_PREFIX = "module."  # torch.nn.DataParallel puts it before every name
LONGEST_KEY_SHOWN = 100

_AAD_MEMBER = re.compile(r"generator\.AADBlk[1-8]\.add_blocks\.([0-9]{1,3})\.")
_FORBIDDEN_GLOBAL = re.compile(r"GLOBAL (\S+)")
_MEMBERS_PER_BLOCK = 3  # AAD layer, ReLU, convolution
_DECIDING_KEY = "encoder.deconv2.deconv.weight"
_DECODER_WIDTHS: dict[int, Backbone] = {2048: "unet", 1024: "linknet"}  # channels into deconv2

_Network = TypeVar("_Network", bound=nn.Module)


def load_aei_net(path: PathLike, backbone: str | None = None, num_blocks: int | None = None) -> AEI_Net:
    """Load GHOST's generator.

    Args:
        path: `G_unet_2blocks.pth` or another variant, which is told from the file.
        backbone, num_blocks: what the user says that it is, if anything.

    Raises:
        BadArgument: if the user says something else than the file does.
        ModelFileError: if the file is missing, damaged, carries code or holds something else.
    """
    state = read_checkpoint(path)
    try:
        found_backbone, found_blocks = infer_aei_variant(state)
    except ValueError as error:
        raise ModelFileError(
            f"{str(path)!r} does not hold AEI-Net: {error}; {_remedy('G_unet_2blocks.pth')}"
        ) from error
    variant = f"{found_backbone} with {found_blocks} {'block' if found_blocks == 1 else 'blocks'}"
    said = [("--backbone", backbone, found_backbone), ("--num_blocks", num_blocks, found_blocks)]
    for flag, value, found in said:
        if value is not None and value != found:
            raise BadArgument(
                f"{flag} {value} contradicts {str(path)!r}, which holds AEI-Net {variant}; leave {flag} out or give the file that fits"
            )
    with torch.device("meta"):
        network = AEI_Net(found_backbone, found_blocks)
    return _give_weights(network, state, path, f"AEI-Net {variant}", "G_unet_2blocks.pth")


def load_iresnet100(path: PathLike) -> IResNet:
    """Load GHOST's identity network, `backbone.pth`.

    Raises:
        ModelFileError: if the file is missing, damaged, carries code or holds something else.
    """
    with torch.device("meta"):
        network = iresnet100()
    return _give_weights(network, read_checkpoint(path), path, "IResNet-100", "backbone.pth")


def load_sr_net(path: PathLike) -> LipSpadeGenerator:
    """Load GHOST's super resolution, `10_net_G.pth`, and fold its spectral norms.

    Raises:
        ModelFileError: if the file is missing, damaged, carries code or holds something else.
    """
    state = {key: value for key, value in read_checkpoint(path).items() if not key.startswith(UNUSED_IN_CHECKPOINT)}
    with torch.device("meta"):
        network = LipSpadeGenerator()
    _give_weights(network, state, path, "LIP-SPADE", "10_net_G.pth")
    fold_spectral_norms(network)
    return network


def infer_aei_variant(state: Mapping[str, Tensor]) -> tuple[Backbone, int]:
    """Tell AEI-Net's variant from names and shapes alone; whether all else agrees, the loader finds out.

    Returns:
        The encoder's name, and the number of AAD layers in a block of the generator.

    Raises:
        ValueError: if `state` is of no variant.
    """
    members = [int(match[1]) for match in map(_AAD_MEMBER.match, state) if match]
    if not members:
        raise ValueError("'generator.AADBlk1.add_blocks.0.conv1.weight' is missing")
    num_blocks = max(members) // _MEMBERS_PER_BLOCK + 1
    if num_blocks not in NUM_BLOCKS:
        raise ValueError(
            f"its generator has {num_blocks} AAD layers in a block, not {' or '.join(map(str, NUM_BLOCKS))}"
        )
    if any(key.startswith(("encoder.conv0.", "encoder.layer")) for key in state):
        return "resnet", num_blocks
    if _DECIDING_KEY not in state:
        raise ValueError(f"{_DECIDING_KEY!r} is missing")
    shape = tuple(state[_DECIDING_KEY].shape)
    backbone = _DECODER_WIDTHS.get(shape[0]) if shape else None
    if backbone is None:
        raise ValueError(f"{_DECIDING_KEY!r} has the shape {shape}, which fits none of {', '.join(BACKBONES)}")
    return backbone, num_blocks


def read_checkpoint(path: PathLike) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint as torch.save writes it, plain or in one of the usual wrappers.

    A zip archive (the format since PyTorch 1.6) is first compared with its own checksums, which torch.load does not look at. The older
    format has none, so that a changed value goes unnoticed there.

    Raises:
        ModelFileError: if the file is missing, damaged, carries code or is no table of tensors.
    """
    try:
        fault = _archive_fault(path)
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ModelFileError(f"{str(path)!r} {what}; {_remedy()}") from error
    if fault:
        raise ModelFileError(f"{str(path)!r} is damaged ({fault}); {_remedy()}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # the readers of a damaged file may fail in any way at all; none of it is a defect of ours
        found = _FORBIDDEN_GLOBAL.search(str(error)) if isinstance(error, UnpicklingError) else None
        fault = f"carries code ({_shown(found[1])}), which is never run" if found else "is damaged or no checkpoint"
        raise ModelFileError(f"{str(path)!r} {fault}; {_remedy()}") from error
    return _unwrapped(content, path)


def _archive_fault(path: PathLike) -> str | None:
    """What is wrong with the file as a zip archive; None for a sound one and for other formats.

    Raises:
        OSError: if it cannot be read.
    """
    if not S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 -- `path` may be a plain string
        raise OSError(errno.EINVAL, "not a plain file")  # a pipe would be waited for
    with open(path, "rb") as stream:  # noqa: PTH123 -- as above
        if stream.read(4) != b"PK\x03\x04":
            return None
        try:
            with zipfile.ZipFile(stream) as archive:
                members = archive.infolist()
                # torch.save stores; a small archive that unpacks to a huge one must not get as far as torch.load.
                if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                    return "its members are compressed"
                if not any(member.CRC for member in members):
                    return None  # written with torch.serialization.set_crc32_options(False)
                changed = archive.testzip()
        except OSError:
            raise
        except (
            Exception
        ):  # zipfile, too, fails in many ways: BadZipFile, EOFError, struct.error, UnicodeDecodeError, ...
            return "truncated, or not as it was written"
    return f"the checksum of {_shown(changed)} differs" if changed else None


def _unwrapped(content: object, path: PathLike) -> dict[str, Tensor]:
    """The table of tensors in what a checkpoint holds, names without the prefix of parallel training."""
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content:
        raise ModelFileError(f"{str(path)!r} holds no table of tensors; {_remedy()}")
    for key, value in content.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise ModelFileError(f"{str(path)!r} holds {_shown(key)}, which is no named plain tensor; {_remedy()}")
    if all(key.startswith(PARALLEL_PREFIX) for key in content):
        return {key.removeprefix(PARALLEL_PREFIX): value for key, value in content.items()}
    return dict(content)


def _give_weights(network: _Network, state: Mapping[str, Tensor], path: PathLike, name: str, released: str) -> _Network:
    """Make the tensors of `state` the parameters of `network`, which lies on the meta device, and ready it for inference."""
    expected = network.state_dict()
    differences = _differences(expected, state)
    if differences:
        more = f" (the first of {len(differences)} differences)" if len(differences) > 1 else ""
        raise ModelFileError(f"{str(path)!r} does not hold {name}: {differences[0]}{more}; {_remedy(released)}")
    tensors = {}
    for key, slot in expected.items():
        # Released as float32; half precision, too, is good for calculating in float32.
        tensors[key] = state[key].detach().to(slot.dtype).contiguous()
        if not torch.isfinite(torch.stack(torch.aminmax(tensors[key]))).all():
            raise ModelFileError(
                f"{str(path)!r} is damaged ({key!r} has values that are not finite); {_remedy(released)}"
            )
    network.load_state_dict(tensors, strict=True, assign=True)
    network.eval().requires_grad_(False)
    return network


def _differences(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What a checkpoint lacks, has in another shape or kind, and has too much, in this order."""
    missing = [f"{key!r} is missing" for key in expected if key not in state]
    other = []
    for key, slot in expected.items():
        if key not in state:
            continue
        value = state[key]
        if value.shape != slot.shape:
            other.append(f"{key!r} has the shape {tuple(value.shape)} instead of {tuple(slot.shape)}")
        elif _kind(value) != _kind(slot):
            other.append(f"{key!r} is of the type {value.dtype} instead of {slot.dtype}")
    unexpected = [f"{_shown(key)} is unexpected" for key in state if key not in expected]
    return missing + other + unexpected


def _is_plain(value: object) -> bool:
    """Whether this is a tensor with values of its own: not sparse, nested, quantised, without storage, or of another library."""
    if type(value) is not Tensor and type(value) is not nn.Parameter:
        return False
    return (
        not value.is_nested and not value.is_quantized and value.layout == torch.strided and value.device.type == "cpu"
    )


def _kind(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return "float"
    return "other" if tensor.is_complex() or tensor.dtype == torch.bool else "integer"


def _remedy(released: str = "checkpoint") -> str:
    return f"download GHOST's {released} again, or name another file"


def _shown(key: object) -> str:
    """A name out of a file, in one line of limited length."""
    text = repr(key)
    return text if len(text) <= LONGEST_KEY_SHOWN else f"{text[:LONGEST_KEY_SHOWN]}..."
