"""What the flags say about model packs; imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from utils.errors import BadArgument

if TYPE_CHECKING:
    from models.packs import GhostOptions

GHOST_FLAGS = ("G_path", "backbone", "num_blocks", "crop_size", "det_size", "precision", "use_sr", "export_onnx")


def choose_pack(args: argparse.Namespace) -> tuple[str, str]:
    """`ghost` or `builtin`, and why if that is not what a flag says.

    Raises:
        BadArgument: if flags of the ghost pack come with the builtin one.
    """
    from utils.model_files.state import has_pack

    asked = [f"--{flag}" for flag in GHOST_FLAGS if getattr(args, flag)]
    if args.pack == "builtin" and asked:
        raise BadArgument(f"{asked[0]} needs the ghost pack; leave it out, or say --pack ghost")
    if args.pack != "auto":
        return str(args.pack), ""
    if asked:
        return "ghost", f"{asked[0]} asks for it"
    if has_pack("ghost"):
        return "ghost", "its files are here"
    return "builtin", "the ghost pack's files are not all here, see --list_weights"


def ghost_options(args: argparse.Namespace) -> GhostOptions:
    """What the flags say about the ghost pack."""
    from models.packs import GhostOptions

    given = {
        "generator_path": args.G_path,
        "backbone": args.backbone,
        "num_blocks": args.num_blocks,
        "crop_px": args.crop_size,
        "det_size": tuple(args.det_size) if args.det_size else None,
        "precision": args.precision,
    }
    said = {name: value for name, value in given.items() if value is not None}
    return GhostOptions(use_sr=args.use_sr, batch_size=args.batch_size, device=args.device, **said)
