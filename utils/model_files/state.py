"""Whether downloadable model files are there and whole, and their paths for the loaders. Fetches nothing.

A file is compared with the table's SHA-256 or, where the table knows none, with the one in its sidecar. A file that has neither (laid there
by hand) is pinned when it is first used.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from utils.errors import ModelFileError, UnwritableOutput
from utils.files import shown
from utils.model_files.sidecar import Sidecar, origin_now, read_sidecar, sidecar_path, stamp_of, write_sidecar
from utils.model_files.table import DEFAULT_GENERATOR, PROJECT, ModelFile, files_named, required_files
from utils.weights import sha256_of

CHECKPOINT_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save: a zip archive since PyTorch 1.6, a pickle before


class State(Enum):
    """What a look at a file found."""

    MISSING = "missing"
    VERIFIED = "verified"  # as the table says
    PINNED = "pinned"  # as when it was first downloaded or used
    UNPINNED = "unverified"  # nothing to compare it with
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Finding:
    """One look at one file.

    Attributes:
        file: its record.
        path: where it lies, or belongs.
        state: what it is.
        detail: the fault of a damaged file, or the origin of a pinned one.
        sha256: as found; None where nothing was calculated.
    """

    file: ModelFile
    path: Path
    state: State
    detail: str = ""
    sha256: str | None = None

    @property
    def usable(self) -> bool:
        """Whether the file is there without a known fault."""
        return self.state not in (State.MISSING, State.DAMAGED)


def place_of(file: ModelFile, root: Path = PROJECT) -> Path:
    """Where the file lies: at its place or under one of its other names there; its place if nowhere."""
    place = root / file.path
    return next((path for path in (place, *map(place.with_name, file.other_names)) if path.exists()), place)


def look_at(file: ModelFile, root: Path = PROJECT, trust_stamp: bool = True) -> Finding:
    """Compare a file with what is known of it; changes nothing.

    Args:
        file: its record.
        root: of the project.
        trust_stamp: take a file of the size and time that the sidecar notes for compared; otherwise read every byte.
    """
    path = place_of(file, root)
    try:
        return _look(file, path, trust_stamp)
    except FileNotFoundError:
        return Finding(file, path, State.MISSING)
    except OSError as error:
        return Finding(file, path, State.DAMAGED, f"cannot be read ({error.strerror or error})")


def resolve(name: str, root: Path = PROJECT) -> Path:
    """Path of a file that is whole.

    Args:
        name: as in the table.
        root: of the project.

    Raises:
        KeyError: if the table has no such name.
        ModelFileError: if it is missing or damaged.
    """
    (file,) = files_named(name)
    return resolve_all([file], root)[file.name]


def resolve_all(files: Iterable[ModelFile], root: Path = PROJECT) -> dict[str, Path]:
    """Paths of files that are all whole, by name in the table; for a pack: `resolve_all(required_files("ghost"))`.

    What was compared is noted in the sidecars, where these can be written.

    Raises:
        ModelFileError: naming every file that is missing or damaged, with its place and the command that downloads it.
    """
    findings = [look_at(file, root) for file in files]
    faults = [fault_of(finding) for finding in findings if not finding.usable]
    if faults:
        raise ModelFileError("; ".join(faults))
    for finding in findings:
        _note(finding)
    return {finding.file.name: finding.path for finding in findings}


def missing_files(group: str, generator: str | None = DEFAULT_GENERATOR, root: Path = PROJECT) -> list[ModelFile]:
    """The required files of a group that are not there; whether the others are whole is not looked at.

    Args: as of `required_files`.
    """
    return [file for file in required_files(group, generator) if not place_of(file, root).exists()]


def has_pack(group: str, generator: str | None = DEFAULT_GENERATOR, root: Path = PROJECT) -> bool:
    """Whether all required files of a group are there, so that a damaged one is reported rather than passed over."""
    return not missing_files(group, generator, root)


def pack_line(findings: Iterable[Finding], group: str = "ghost", optional: str = "landmarks") -> str:
    """In one line, whether a pack is complete and what to do if not.

    Args:
        findings: a look at every file of the table.
        group: the pack's required files.
        optional: a group that is better had, too.
    """
    found = list(findings)
    needed = [finding for finding in found if finding.file.group == group]
    missing = [shown(finding.path) for finding in needed if finding.state is State.MISSING]
    if missing:
        return f"pack {group}: {', '.join(missing)} missing; get it with 'python inference.py --download {group}'"
    if not all(finding.usable for finding in needed):
        return f"pack {group}: damaged"
    better = not all(finding.usable for finding in found if finding.file.group == optional)
    return f"pack {group}: complete" + (f"; better with 'python inference.py --download {optional}'" if better else "")


def fault_of(finding: Finding) -> str:
    """What is wrong with an unusable file and what to do about it, in one line."""
    file = finding.file
    if finding.state is State.MISSING:
        return f"{shown(finding.path)} is missing, get it with 'python inference.py --download {file.wanted_as}'"
    fault = f"{shown(finding.path)} {finding.detail}, get it again with 'python inference.py --download {file.name}'"
    if file.sha256 is None and finding.sha256:
        fault += f", or delete {sidecar_path(finding.path).name} if you replaced the file on purpose"
    return fault


def expected_sha256(file: ModelFile, path: Path) -> str | None:
    """The checksum that the file at `path` must have: the table's, else the pin; None if there is neither.

    Raises:
        OSError: if the sidecar cannot be read.
        ValueError: if it is malformed, and the table knows nothing.
    """
    if file.sha256:
        return file.sha256
    sidecar = read_sidecar(path)
    return sidecar.sha256 if sidecar else None


def content_fault(file: ModelFile, path: Path) -> str | None:
    """What shows without a checksum that this is no such file; None if nothing does.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start:
        return "is empty"
    if file.path.endswith(".pth"):
        if not start.startswith(CHECKPOINT_STARTS):
            return "is no checkpoint"
        if start == CHECKPOINT_STARTS[0] and not zipfile.is_zipfile(path):
            return "is truncated"
    return None


def _look(file: ModelFile, path: Path, trust_stamp: bool) -> Finding:
    stamp = stamp_of(path)
    if not path.is_file():
        return Finding(file, path, State.DAMAGED, "is no file")
    if file.bytes not in (None, stamp[0]):
        return Finding(file, path, State.DAMAGED, f"is damaged ({stamp[0]} bytes instead of {file.bytes})")
    try:
        sidecar = read_sidecar(path)
    except ValueError as error:
        if not file.sha256:
            name = sidecar_path(path).name
            return Finding(file, path, State.DAMAGED, f"cannot be compared: {name} is malformed ({error})")
        sidecar = None
    expected = file.sha256 or (sidecar.sha256 if sidecar else None)
    if expected is None:
        fault = content_fault(file, path)
        return Finding(file, path, State.DAMAGED if fault else State.UNPINNED, fault or "")
    fresh = trust_stamp and sidecar is not None and (sidecar.sha256, sidecar.stamp) == (expected, stamp)
    return _compared(file, path, expected, expected if fresh else sha256_of(path), sidecar)


def _compared(file: ModelFile, path: Path, expected: str, found: str, sidecar: Sidecar | None) -> Finding:
    origin = sidecar.origin if sidecar else ""
    if found != expected:
        whose = "published" if file.sha256 else f"pinned ({origin})"
        return Finding(file, path, State.DAMAGED, f"is damaged (SHA-256 differs from the one {whose})", found)
    return Finding(file, path, State.VERIFIED if file.sha256 else State.PINNED, origin, found)


def _note(finding: Finding) -> None:
    """Write down that a file was compared, or pin it; a folder that cannot be written is no reason to refuse a good file."""
    with contextlib.suppress(UnwritableOutput, OSError, ValueError):
        stamp, sidecar = stamp_of(finding.path), _readable_sidecar(finding.path)
        sha256 = finding.sha256 or sha256_of(finding.path)
        if sidecar is None or (sidecar.sha256, sidecar.stamp) != (sha256, stamp):
            origin = sidecar.origin if sidecar and sidecar.sha256 == sha256 else origin_now("found in place")
            write_sidecar(finding.path, Sidecar(sha256, stamp, origin))


def _readable_sidecar(path: Path) -> Sidecar | None:
    try:
        return read_sidecar(path)
    except ValueError:
        return None
