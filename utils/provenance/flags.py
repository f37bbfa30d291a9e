"""The flags for marks; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import BadArgument
from utils.flag_types import add_bool
from utils.provenance.marking import Marking

if TYPE_CHECKING:
    from utils.provenance.credentials import Credentials


def add_provenance_flags(parser: argparse.ArgumentParser) -> None:
    """Add what can be said about marks, and --verify."""
    marks = parser.add_argument_group("marks (every output says to machines that it was altered by AI)")
    add_bool(marks, "--label", False, 'show a small "AI MODIFIED" at the bottom left, too')
    add_bool(marks, "--keep_gps", False, "pass on where a photo or video was taken")
    marks.add_argument(
        "--c2pa_cert",
        type=Path,
        metavar="FILE",
        help="sign with this certificate (PEM, followed by those of its issuers) instead of a self-made one",
    )
    marks.add_argument("--c2pa_key", type=Path, metavar="FILE", help="the private key of --c2pa_cert (PEM)")
    marks.add_argument(
        "--verify",
        type=Path,
        metavar="FILE",
        help="tell what marks a file carries, and whether it is as it was signed, then end: 0 marked and intact, "
        "7 not marked, 8 changed since",
    )
    marks.add_argument(
        "--c2pa_trust",
        type=Path,
        metavar="FILE",
        help="for --verify: certificates of authorities that are trusted (PEM)",
    )


def refuse_provenance_flags(args: argparse.Namespace) -> None:
    """Refuse flags that need another one.

    Raises:
        BadArgument: naming it.
    """
    if bool(args.c2pa_cert) != bool(args.c2pa_key):
        given, missing = ("--c2pa_cert", "--c2pa_key") if args.c2pa_cert else ("--c2pa_key", "--c2pa_cert")
        raise BadArgument(f"{given} needs {missing}; give both, or neither")
    if args.c2pa_trust and not args.verify:
        raise BadArgument("--c2pa_trust is for --verify; leave it out")


def marking_of(args: argparse.Namespace) -> Marking:
    """What the flags say.

    Raises:
        UnreadableInput: if certificate or key cannot be read.
        BadArgument: if nothing can be signed with them.
    """
    return Marking(credentials=_credentials(args.c2pa_cert, args.c2pa_key), label=args.label, keep_gps=args.keep_gps)


def load_signing() -> None:
    """Have ready what every signature needs, beside other work."""
    import utils.provenance.manifest  # noqa: F401
    from utils.provenance.credentials import local_credentials

    local_credentials()


@cache  # many jobs share them
def _credentials(certificate: Path | None, key: Path | None) -> Credentials | None:
    if certificate is None or key is None:
        return None
    from utils.provenance.credentials import read_credentials
    from utils.provenance.manifest import check_credentials

    credentials = read_credentials(certificate, key)
    check_credentials(credentials, certificate)
    return credentials
