"""What `--download` and `--list_weights` do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from utils.errors import BadArgument, ModelFileError
from utils.files import shown
from utils.model_files.fetch import Options, download
from utils.model_files.state import Finding, State, fault_of, look_at, pack_line
from utils.model_files.table import MODEL_FILES, PROJECT, ModelFile, files_named
from utils.signals import resumable
from utils.streams import write_note, write_result
from utils.weights import builtin_file, load_manifest

MIRROR_VARIABLE = "GHOST_WEIGHTS_MIRROR"
ADDRESS = re.compile(r"[\w.~:/\[\]@!$&'()*+,;=%-]+", re.ASCII)  # of RFC 3986 all but query and fragment
_WORDS = {State.PINNED: "verified, pinned", State.UNPINNED: "present, not pinned yet"}


def download_named(names: Iterable[str], quiet: bool, root: Path = PROJECT) -> None:
    """Download what the names stand for; print each path to stdout, all else to stderr.

    Raises:
        BadArgument: if the mirror in the environment is no address.
        ModelFileError: if files cannot be had.
        UnwritableOutput: if they, or their paths, cannot be written.
    """
    mirror = checked_mirror(os.environ.get(MIRROR_VARIABLE))
    if mirror and not quiet:
        write_note(f"{MIRROR_VARIABLE}: downloading from {mirror}")
    files = list(dict.fromkeys(file for name in names for file in files_named(name)))

    def tell(finding: Finding) -> None:
        write_result(finding.path)
        if not quiet:
            write_note(f"{finding.file.name}: {finding.file.licence}")

    with resumable():
        download(files, root, Options(mirror=mirror, quiet=quiet), tell)
    if (
        not quiet
        and any(file.group == "ghost" for file in files)
        and not any(file.group == "landmarks" for file in files)
    ):
        write_note("GHOST's own masks need '--download landmarks' as well, --use_sr needs '--download sr'")


def list_weights(root: Path = PROJECT) -> None:
    """Look at every byte of every model file and print what is there to stdout; writes nothing.

    Raises:
        ModelFileError: if a file is damaged.
        UnwritableOutput: if stdout takes nothing.
    """
    findings = [look_at(file, root, trust_stamp=False) for file in MODEL_FILES]
    write_result("\n".join(table_lines(findings)))
    for name in load_manifest().files:
        builtin_file(name)
    write_result(pack_line(findings))
    write_result("pack builtin: verified; ships with the repository, its licences stand in weights/builtin/README.md")
    damaged = [fault_of(finding) for finding in findings if finding.state is State.DAMAGED]
    if damaged:
        raise ModelFileError("; ".join(damaged))


def table_lines(findings: Sequence[Finding]) -> list[str]:
    """The listing: for each file a line with state, size and licence, and lines with what to do."""
    lines = []
    for finding in findings:
        file = finding.file
        state = _WORDS.get(finding.state, finding.state.value)
        lines += [f"{file.name:<16} {state:<24} {_size(finding):>9}  {file.licence}", f"    {file.use}"]
        lines.append(f"    place     {shown(finding.path)}")
        if finding.detail:
            lines.append(f"    {'origin ' if finding.usable else 'fault  '}   {finding.detail}")
        if not finding.usable:
            lines += [
                f"    download  python inference.py --download {file.wanted_as}",
                f"    by hand   {_sources(file)}",
            ]
    return lines


def checked_mirror(text: str | None) -> str | None:
    """The mirror, if one is named.

    Raises:
        BadArgument: if it is no http or https address, or holds more than an address; never with its text, which may be secret.
    """
    if not text:
        return None
    try:
        parts = urlsplit(text)
        names_place = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, too, which is read only here
        names_place = False
    if not names_place or not ADDRESS.fullmatch(text):
        raise BadArgument(
            f"{MIRROR_VARIABLE} is no address; give https:// or http://, a host, and perhaps a port and folders, "
            "without spaces, ? and #"
        )
    if parts.username is not None:
        raise BadArgument(
            f"{MIRROR_VARIABLE} names a user; leave user and password out: the address stands in messages and sidecars"
        )
    return text


def _size(finding: Finding) -> str:
    size = finding.file.bytes
    if finding.state is not State.MISSING and finding.path.is_file():
        size = finding.path.stat().st_size
    return "size ?" if size is None else f"{size / 1e6:.1f} MB"


def _sources(file: ModelFile) -> str:
    places = [file.url] if file.url else []
    return ", or ".join(places + [f"a member of {archive.url}" for archive in file.archives])
