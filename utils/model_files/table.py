"""The one table of downloadable model files: place, size, checksum, address, licence and what each is for.

Only what is certain stands here. A file without a SHA-256 is pinned when it is first downloaded or used; see sidecar.py. This module
imports nothing but the standard library, because the command line's flags are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

GHOST_RELEASES = "https://github.com/sberbank-ai/sber-swap/releases/download"
INSIGHTFACE_RELEASES = "https://github.com/deepinsight/insightface/releases/download/v0.7"

# InsightFace releases its models for non-commercial research only. GHOST's weights are Apache-2.0 like its code; but its identity
# network is one of InsightFace's family, and its super resolution comes from NVIDIA's SPADE (CC BY-NC-SA 4.0).
INSIGHTFACE_LICENCE = "non-commercial research only (InsightFace)"
GHOST_LICENCE = "Apache-2.0 (GHOST)"
ARCFACE_LICENCE = "Apache-2.0 as GHOST releases it, but an ArcFace network: treat as non-commercial"
SPADE_LICENCE = "treat as non-commercial (from NVIDIA's SPADE, CC BY-NC-SA 4.0)"


@dataclass(frozen=True)
class Archive:
    """A zip archive of several model files, of which only the wanted ones are unpacked.

    Attributes:
        name: file name.
        url: address.
        bytes: size.
        sha256: 64 hexadecimal digits.
    """

    name: str
    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """One downloadable file.

    Attributes:
        name: for the command line.
        path: its place, relative to the project.
        bytes: size; None if not known.
        sha256: 64 hexadecimal digits; None if not known.
        url: where it lies on its own; None if only in archives.
        archives: which hold it under its file name, the preferred one first; tried after `url`.
        licence: what may be done with it.
        group: the name under which it is downloaded with others; None if only by its own name.
        use: what needs it.
        other_names: file names in the same folder that are as good.
    """

    name: str
    path: str
    bytes: int | None
    sha256: str | None
    url: str | None
    archives: tuple[Archive, ...]
    licence: str
    group: str | None
    use: str
    other_names: tuple[str, ...] = ()

    @property
    def wanted_as(self) -> str:
        """What to say after --download to get it with all that belongs to it."""
        return self.group or self.name


ANTELOPE = Archive(
    "antelopev2.zip",
    f"{INSIGHTFACE_RELEASES}/antelopev2.zip",
    360662982,
    "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
)
BUFFALO = Archive(
    "buffalo_l.zip",
    f"{INSIGHTFACE_RELEASES}/buffalo_l.zip",
    288621354,
    "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
)

MODEL_FILES = (
    ModelFile(
        "scrfd_10g_bnkps",
        "insightface_func/models/antelope/scrfd_10g_bnkps.onnx",
        16923827,
        "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
        f"{GHOST_RELEASES}/antelope/scrfd_10g_bnkps.onnx",
        (ANTELOPE,),
        INSIGHTFACE_LICENCE,
        "ghost",
        "face detection, needed by --pack ghost",
    ),
    ModelFile(
        "backbone",
        "arcface_model/backbone.pth",
        None,
        None,
        f"{GHOST_RELEASES}/arcface/backbone.pth",
        (),
        ARCFACE_LICENCE,
        "ghost",
        "identity, needed by --pack ghost",
    ),
    ModelFile(
        "G_unet_2blocks",
        "weights/G_unet_2blocks.pth",
        None,
        None,
        f"{GHOST_RELEASES}/sber-swap-v2.0/G_unet_2blocks.pth",
        (),
        GHOST_LICENCE,
        "ghost",
        "generator, needed by --pack ghost",
    ),
    ModelFile(
        "2d106det",
        "coordinate_reg/model/2d106det.onnx",
        5030888,
        "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
        None,
        (BUFFALO, ANTELOPE),  # the smaller one first
        INSIGHTFACE_LICENCE,
        "landmarks",
        "landmarks for GHOST's masks, optional in --pack ghost",
        ("2d106det-0000.onnx",),
    ),
    ModelFile(
        "10_net_G",
        "weights/10_net_G.pth",
        None,
        None,
        f"{GHOST_RELEASES}/super-res/10_net_G.pth",
        (),
        SPADE_LICENCE,
        "sr",
        "super resolution, needed by --use_sr",
    ),
    ModelFile(
        "G_unet_1block",
        "weights/G_unet_1block.pth",
        None,
        None,
        f"{GHOST_RELEASES}/sber-swap-v2.0/G_unet_1block.pth",
        (),
        GHOST_LICENCE,
        None,
        "a smaller generator, for --num_blocks 1",
    ),
    ModelFile(
        "G_unet_3blocks",
        "weights/G_unet_3blocks.pth",
        None,
        None,
        f"{GHOST_RELEASES}/sber-swap-v2.0/G_unet_3blocks.pth",
        (),
        GHOST_LICENCE,
        None,
        "a larger generator, for --num_blocks 3",
    ),
    ModelFile(
        "glintr100",
        "insightface_func/models/antelope/glintr100.onnx",
        260665334,
        "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
        f"{GHOST_RELEASES}/antelope/glintr100.onnx",
        (ANTELOPE,),
        INSIGHTFACE_LICENCE,
        None,
        "never loaded; part of the original's downloads",
    ),
)

GROUPS = tuple(dict.fromkeys(file.group for file in MODEL_FILES if file.group))
DOWNLOAD_NAMES = (*GROUPS, *(file.name for file in MODEL_FILES))
GENERATORS = {1: "G_unet_1block", 2: "G_unet_2blocks", 3: "G_unet_3blocks"}  # by AAD layers in a block
DEFAULT_GENERATOR = GENERATORS[2]


def files_named(name: str) -> tuple[ModelFile, ...]:
    """The files of a group, or the one file of this name.

    Raises:
        KeyError: if the table has neither.

    >>> [file.name for file in files_named("ghost")]
    ['scrfd_10g_bnkps', 'backbone', 'G_unet_2blocks']
    >>> files_named("10_net_G") == files_named("sr")
    True
    """
    found = tuple(file for file in MODEL_FILES if name in (file.group, file.name))
    if not found:
        raise KeyError(name)
    return found


def required_files(group: str, generator: str | None = DEFAULT_GENERATOR) -> tuple[ModelFile, ...]:
    """What a group needs to run.

    Args:
        group: `ghost`, `landmarks` or `sr`.
        generator: the released generator that takes the default's place in `ghost`; None if the user brings their own.

    Raises:
        KeyError: if the table has no such name.

    >>> [file.name for file in required_files("ghost", GENERATORS[1])]
    ['scrfd_10g_bnkps', 'backbone', 'G_unet_1block']
    """
    files: list[ModelFile] = []
    for file in files_named(group):
        if file.name != DEFAULT_GENERATOR:
            files.append(file)
        elif generator is not None:
            files += files_named(generator)
    return tuple(files)
