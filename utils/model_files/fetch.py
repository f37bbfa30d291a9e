"""Downloads model files: from their address or out of an archive, checked before they get their name, one process at a time.

A file appears under its name only when its size and checksum are right, with its sidecar already beside it. Fetches only what it is
asked for; nothing else in the project opens a connection.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import ModelFileError, UnwritableOutput
from utils.files import finished_file, shown
from utils.locks import exclusive
from utils.model_files.parts import discard, part_of
from utils.model_files.resume import Patience, receive
from utils.model_files.sidecar import Sidecar, origin_now, sidecar_path, stamp_of, write_sidecar
from utils.model_files.state import Finding, content_fault, expected_sha256, look_at
from utils.model_files.table import PROJECT, Archive, ModelFile
from utils.model_files.transport import TransferError, mirrored
from utils.model_files.unpack import BadArchive, unpack_member
from utils.weights import sha256_of

ARCHIVE_FOLDER = "weights"  # where an archive lies until its members are out

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to download.

    Attributes:
        patience: when to give up.
        mirror: what takes the place of `https://host` in every address; None for the addresses of the table.
        quiet: no progress bar.
    """

    patience: Patience = field(default_factory=Patience)
    mirror: str | None = None
    quiet: bool = False


class NoNetwork(ModelFileError):
    """No connection at all, so that there is no use in asking for further files."""


def _ignore(finding: Finding) -> None:
    pass


def download(
    files: Sequence[ModelFile],
    root: Path = PROJECT,
    options: Options | None = None,
    done: Callable[[Finding], None] = _ignore,
) -> None:
    """Fetch those of the files that are not there or damaged.

    Args:
        files: of the table.
        root: of the project.
        options: how.
        done: is told each file that is now in place.

    Raises:
        ModelFileError: naming the files that cannot be had; the others are fetched all the same.
        UnwritableOutput: if one cannot be written.
    """
    options = options or Options()
    faults: list[str] = []
    archives: set[Archive] = set()
    for file in files:
        try:
            done(_ensure(file, root, options, archives))
        except NoNetwork:
            raise
        except ModelFileError as error:
            faults.append(str(error))
    for archive in archives:
        _remove_archive(archive, root)
    if faults:
        raise ModelFileError("; ".join(faults))


def _ensure(file: ModelFile, root: Path, options: Options, archives: set[Archive]) -> Finding:
    """Fetch one file unless it is there; adds the archives that were needed to `archives`."""
    finding = look_at(file, root)
    if finding.usable:
        return finding
    place = root / file.path
    with exclusive(place):
        finding = look_at(file, root)  # another process may have fetched it meanwhile
        if not finding.usable:
            try:
                expected = expected_sha256(file, place)
            except (OSError, ValueError) as error:
                name = shown(sidecar_path(place))
                raise ModelFileError(f"{name} is malformed ({error}); delete it to pin the file anew") from error
            _fetch(file, place, expected, root, options, archives)
            finding = look_at(file, root)
    return finding


def _fetch(
    file: ModelFile, place: Path, expected: str | None, root: Path, options: Options, archives: set[Archive]
) -> None:
    """Fetch a file from the first of its sources that has it.

    Raises:
        ModelFileError: if none has; telling what each said.
    """
    faults: list[str] = []
    remedy = f"put it at {shown(place)} by hand"
    sources: list[str | Archive] = [*([file.url] if file.url else []), *file.archives]
    for source in sources:
        try:
            if isinstance(source, Archive):
                _log.warning("%s comes out of %s (%d MB)", file.name, source.name, source.bytes // 10**6)
                _fetch_from_archive(file, place, source, root, options, archives)
            else:
                _fetch_from_address(file, place, mirrored(source, options.mirror), expected, options)
            return
        except (TransferError, BadArchive) as error:
            if isinstance(error, TransferError) and error.unreachable:
                raise NoNetwork(
                    f"no network: {error}; put the file at {shown(place)} by hand ('--list_weights' shows all places)"
                ) from error
            faults.append(str(error))
            if isinstance(error, TransferError) and error.retriable:
                remedy = f"the same command goes on where it stopped, or put it at {shown(place)} by hand"
    raise ModelFileError(f"{file.name} cannot be downloaded: {', '.join(faults)}; {remedy}")


def _fetch_from_address(file: ModelFile, place: Path, url: str, expected: str | None, options: Options) -> None:
    part = part_of(place)
    receive(url, part, file.bytes, expected is not None, options.patience, options.quiet)
    found = _checked(part, file.bytes, expected, url)
    fault = content_fault(file, part)
    if fault:
        discard(part)
        raise TransferError(f"what {url} has {fault}")
    with _writable(place):
        _sync(part)
        write_sidecar(place, Sidecar(found, stamp_of(part), origin_now(f"downloaded from {url}")))
        part.replace(place)
        discard(part)


def _fetch_from_archive(
    file: ModelFile, place: Path, archive: Archive, root: Path, options: Options, archives: set[Archive]
) -> None:
    if file.bytes is None or file.sha256 is None:
        raise BadArchive(f"nothing is known to tell the right {place.name} in {archive.name}")
    stored = root / ARCHIVE_FOLDER / archive.name
    with exclusive(stored):
        if not _is_whole(stored, archive):
            part, url = part_of(stored), mirrored(archive.url, options.mirror)
            receive(url, part, archive.bytes, True, options.patience, options.quiet)
            _checked(part, archive.bytes, archive.sha256, url)
            with _writable(stored):
                part.replace(stored)
                discard(part)
        archives.add(archive)
        with finished_file(place) as temporary:
            unpack_member(stored, place.name, file.bytes, temporary)
            if sha256_of(temporary) != file.sha256:
                raise BadArchive(f"{place.name} in {archive.name} has another SHA-256 than it should")
            _sync(temporary)
            origin = origin_now(f"unpacked from {archive.name}")
            write_sidecar(place, Sidecar(file.sha256, stamp_of(temporary), origin))


def _checked(part: Path, size: int | None, expected: str | None, url: str) -> str:
    """SHA-256 of a complete part.

    Raises:
        TransferError: if it is not the expected one; the part is removed.
    """
    with _writable(part):
        found_bytes, found = part.stat().st_size, sha256_of(part)
        if size in (None, found_bytes) and expected in (None, found):
            return found
        discard(part)
    raise TransferError(
        f"what {url} has is damaged or another file ({found_bytes} bytes, SHA-256 {found}), and was removed"
    )


def _is_whole(path: Path, archive: Archive) -> bool:
    return path.is_file() and path.stat().st_size == archive.bytes and sha256_of(path) == archive.sha256


def _remove_archive(archive: Archive, root: Path) -> None:
    stored = root / ARCHIVE_FOLDER / archive.name
    with exclusive(stored), _writable(stored):
        stored.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Bring a file to the disk before it gets its name, so that not even a power cut leaves a damaged one under it."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwritableOutput(
            f"cannot write {shown(path)!r} ({error.strerror or error}); check the folder and its permissions"
        ) from error
