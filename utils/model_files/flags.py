"""The command line's flags for model files; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse

from utils.model_files.table import DOWNLOAD_NAMES, GROUPS


def add_weight_flags(parser: argparse.ArgumentParser) -> None:
    """Add --download and --list_weights."""
    group = parser.add_argument_group("model files (nothing is ever downloaded without --download)")
    group.add_argument(
        "--download",
        nargs="+",
        choices=DOWNLOAD_NAMES,
        default=[],
        metavar="NAME",
        help=f"fetch model files, then end: {', '.join(GROUPS)}, or single ones as --list_weights names them",
    )
    group.add_argument(
        "--list_weights", action="store_true", help="check the model files, tell place, licence and address, then end"
    )


def manage_weights(args: argparse.Namespace) -> bool:
    """Do what --download and --list_weights say; whether they said anything.

    Raises:
        SwapError: as `download_named` and `list_weights` do.
    """
    if not (args.download or args.list_weights):
        return False
    from utils.model_files.commands import download_named, list_weights

    if args.download:
        download_named(args.download, args.quiet)
    if args.list_weights:
        list_weights()
    return True
