"""The embedded pack `weights/builtin/`: where its files lie, and that they are whole before anything reads them.

Its MANIFEST.json is written by utils/build_pack. Files that are downloaded are the concern of utils/model_files. Loads no model and
imports no library.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from utils.errors import ModelFileError
from utils.files import shown

BUILTIN_FOLDER = Path(__file__).resolve().parents[1] / "weights" / "builtin"
MANIFEST_NAME = "MANIFEST.json"

_REMEDY = "restore it with 'git checkout weights/builtin' or rebuild it with 'python -m utils.build_pack'"
_PIECE_BYTES = 2**20
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_Value = TypeVar("_Value", str, int, list[object], dict[str, object])


@dataclass(frozen=True)
class Source:
    """Where a file was converted from: the package with its registry's tool, its version, and the member."""

    package: str
    version: str
    member: str


@dataclass(frozen=True)
class PackFile:
    """One file of a pack, as the manifest describes it; whether it is so, `builtin_file` finds out.

    Attributes:
        name: without a folder.
        path: where it lies.
        bytes: its size.
        sha256: 64 hexadecimal digits.
        source: where it was converted from.
        licence: SPDX expression.
    """

    name: str
    path: Path
    bytes: int
    sha256: str
    source: Source
    licence: str


@dataclass(frozen=True)
class Manifest:
    """A pack and its files, by name."""

    pack: str
    version: str
    files: Mapping[str, PackFile]


def load_manifest(folder: Path = BUILTIN_FOLDER) -> Manifest:
    """Read the manifest of a pack, without looking at the files.

    Raises:
        ModelFileError: if it is missing, unreadable or malformed.
    """
    path = folder / MANIFEST_NAME
    try:
        return parse_manifest(path.read_text(encoding="utf-8"), folder)
    except FileNotFoundError as error:
        raise ModelFileError(f"{shown(path)} is missing; {_REMEDY}") from error
    except OSError as error:
        raise ModelFileError(f"{shown(path)} cannot be read ({error.strerror}); {_REMEDY}") from error
    except ValueError as error:
        raise ModelFileError(f"{shown(path)} is malformed ({error}); {_REMEDY}") from error


def parse_manifest(text: str, folder: Path) -> Manifest:
    """Read a manifest from its text.

    Args:
        text: JSON: pack, version, and files with name, bytes, sha256, source and licence; all else is for people.
        folder: where the files lie.

    Raises:
        ValueError: saying what is wrong with it.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    files: dict[str, PackFile] = {}
    for entry in _field(content, "files", list):
        file = _pack_file(entry, folder)
        if file.name in files:
            raise ValueError(f"{file.name!r} is listed twice")
        files[file.name] = file
    return Manifest(_field(content, "pack", str), _field(content, "version", str), files)


@lru_cache
def builtin_file(name: str, folder: Path = BUILTIN_FOLDER) -> Path:
    """Path of a file of the embedded pack that agrees with the manifest; looked at once per process.

    Args:
        name: as the manifest lists it.
        folder: of the pack.

    Raises:
        ModelFileError: if the file is not in the manifest, missing, unreadable or damaged, or the manifest is.
    """
    file = load_manifest(folder).files.get(name)
    if file is None:
        raise ModelFileError(f"{shown(folder / MANIFEST_NAME)} lists no file {name!r}; {_REMEDY}")
    verify(file)
    return file.path


def builtin_version() -> str:
    """Version of the embedded pack, for provenance.

    Raises:
        ModelFileError: if the manifest is missing or malformed.
    """
    return load_manifest().version


def verify(file: PackFile) -> None:
    """Compare a file with its entry in the manifest; ten megabytes take about ten milliseconds.

    Raises:
        ModelFileError: if it is missing, unreadable or differs.
    """
    try:
        found_bytes = file.path.stat().st_size
        found = sha256_of(file.path) if found_bytes == file.bytes else ""
    except FileNotFoundError as error:
        raise ModelFileError(f"{shown(file.path)} is missing; {_REMEDY}") from error
    except OSError as error:
        raise ModelFileError(f"{shown(file.path)} cannot be read ({error.strerror}); {_REMEDY}") from error
    if found_bytes != file.bytes:
        difference = f"{found_bytes} bytes instead of {file.bytes}"
        raise ModelFileError(f"{shown(file.path)} is damaged ({difference}); {_REMEDY}")
    if found != file.sha256:
        raise ModelFileError(f"{shown(file.path)} is damaged (SHA-256 differs from {MANIFEST_NAME}); {_REMEDY}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits; reads it piece by piece.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _pack_file(entry: object, folder: Path) -> PackFile:
    if not isinstance(entry, dict):
        raise ValueError("an entry of 'files' is no object")
    name, sha256, size = _field(entry, "name", str), _field(entry, "sha256", str), _field(entry, "bytes", int)
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no plain file name")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"the SHA-256 of {name!r} is not 64 hexadecimal digits")
    if size < 0:
        raise ValueError(f"{name!r} has a negative size")
    origin = _field(entry, "source", dict)
    source = Source(*(_field(origin, key, str) for key in ("package", "version", "member")))
    return PackFile(name, folder / name, size, sha256, source, _field(entry, "licence", str))


def _field(entry: dict[str, object], key: str, kind: type[_Value]) -> _Value:
    value = entry.get(key)
    # A truth value counts as an integer in Python, but not as one in a manifest.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{key!r} is missing or of the wrong type")
    return value
