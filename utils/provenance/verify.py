"""`--verify`: what marks a file carries, and whether it is still as it was signed. Nothing is asked of any other machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISREG

import av
import c2pa

from utils.errors import UnreadableInput
from utils.files import is_there
from utils.inference.video.probing import open_video
from utils.provenance.credentials import read_authorities
from utils.provenance.formats import SIDECAR, UNKNOWN, mime_of_file, sidecars_of
from utils.provenance.manifest import reading
from utils.provenance.marks import MADE_BY_MODELS, SOURCE_TYPES, xmp_source_types
from utils.provenance.scanning import places
from utils.provenance.statement import UNREADABLE, Statement, printable, statement_of
from utils.signals import undisturbed

INTACT, UNMARKED, CHANGED = 0, 7, 8  # exit codes
MANIFEST_STORE = b"jumdc2pa"  # stands in every file that holds a manifest, readable or not
LARGEST_SIDECAR = 64 << 20
SIGNER_REMARKS = {
    "signingCredential.expired": "the certificate has expired, and nobody vouches that it was signed before",
    "signingCredential.invalid": "the certificate is not one for signing media",
    "signingCredential.ocsp.revoked": "the certificate was withdrawn",
}


@dataclass(frozen=True)
class Findings:
    """The marks of a file.

    Attributes:
        file: its path.
        xmp, tags: short names of source types in its XMP, and in tags of its container.
        signature: what its newest C2PA manifest says; None if it has none.
        sidecar: path of the file in which that was, if it lies beside the media.
    """

    file: str
    xmp: tuple[str, ...]
    tags: tuple[str, ...]
    signature: Statement | None
    sidecar: str | None = None

    @property
    def exit_code(self) -> int:
        """The verdict. Only what is signed, and holds, makes a file marked and intact: other marks are written by anybody."""
        signature = self.signature
        if signature is not None and signature.holds and self._signed_as_altered:
            return INTACT
        if self._says_altered or (signature is not None and not signature.holds and self.sidecar is None):
            return CHANGED
        return UNMARKED

    @property
    def verdict(self) -> str:
        """The same in words."""
        signature = self.signature
        if self.exit_code == INTACT:
            return "marked as altered by AI, and as it was signed"
        if self.exit_code == UNMARKED:
            return "not marked as altered by AI"
        if signature is None:
            return "marked as altered by AI, but not signed: it never was, or lost that when it was edited or encoded again"
        if signature.holds:
            return "marked as altered by AI, but what is signed does not say so: the mark may have been added later"
        if self._says_altered or self._signed_as_altered:
            return "marked as altered by AI, but not as it was signed: it was changed since"
        return "signed, but not as it was signed: it was changed since"

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**asdict(self), "exit_code": self.exit_code})

    def lines(self) -> list[str]:
        """For people."""
        said = [("XMP", self.xmp), ("container", self.tags)]
        marks = [f"  {place}: {', '.join(types)}" for place, types in said if types]
        return [f"{printable(self.file)}: {self.verdict}", *marks, *self._signature_lines()]

    @property
    def _says_altered(self) -> bool:
        return not MADE_BY_MODELS.isdisjoint((*self.xmp, *self.tags))

    @property
    def _signed_as_altered(self) -> bool:
        said = self.signature or Statement()
        return not MADE_BY_MODELS.isdisjoint((*said.source_types, *said.earlier_types))

    def _signature_lines(self) -> list[str]:
        said = self.signature
        if said is None:
            return ["  C2PA: no manifest"]
        place = f" (in {printable(self.sidecar)})" if self.sidecar else ""
        what = ", ".join(filter(None, [*said.tools, said.pack and f"pack {said.pack}"]))
        types = f": {', '.join(said.source_types)}" if said.source_types else ""
        lines = [f"  C2PA{place}: {', '.join(said.actions) or 'a manifest'}{f' by {what}' if what else ''}{types}"]
        if said.earlier_types:
            lines.append(f"  of what it was made from, it says: {', '.join(said.earlier_types)}")
        if said.holds:
            lines.append("  signature and hashes hold")
        else:
            of_another = "; it may be the manifest of another file" if self.exit_code == UNMARKED else ""
            lines.append(f"  does not hold: {', '.join(said.failures)}{of_another}")
        if said.signer:
            known = "trusted" if said.trusted else "unknown: no trusted authority vouches for that name"
            remarks = [SIGNER_REMARKS.get(code, code) for code in said.signer_remarks]
            lines.append(f"  signed by: {said.signer} ({'; '.join([known, *remarks])})")
        return lines


def verify(path: Path, trust: Path | None = None) -> Findings:
    """Read all marks of a file.

    Args:
        path: of any format.
        trust: PEM, certificates of authorities that are trusted to name signers; None trusts nobody.

    Raises:
        UnreadableInput: if a file cannot be read, or is itself the sidecar of another.
    """
    anchors = b"" if trust is None else read_authorities(trust)
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise UnreadableInput(f"{str(path)!r} is not a file; give a picture or a video")
        if not status.st_size:  # some files of /proc say so, and never end
            return Findings(str(path), (), (), None)
        if mime_of_file(path) == SIDECAR:
            raise UnreadableInput(f"{str(path)!r} holds the signature of a file that lies beside it; give that file")
        xmp = tuple(sorted(xmp_source_types(path)))
        signature, sidecar = _signature(path, anchors)
        return Findings(str(path), xmp, _tag_source_types(path), signature, None if sidecar is None else str(sidecar))
    except OSError as error:
        raise UnreadableInput(f"cannot read {str(path)!r} ({error.strerror or error}); check the path") from error


def _tag_source_types(path: Path) -> tuple[str, ...]:
    if not mime_of_file(path).startswith("video/"):
        return ()
    try:
        with open_video(path) as container:
            texts = list(container.metadata.values())
    except (UnreadableInput, av.FFmpegError):
        return ()  # damaged: what the other marks say is still told
    return tuple(sorted({kind for kind in MADE_BY_MODELS for text in texts if f"{SOURCE_TYPES}{kind}" in text}))


def _signature(path: Path, anchors: bytes) -> tuple[Statement | None, Path | None]:
    """That inside of the file; else that of the first sidecar which holds, or of the first; and where it was."""
    inside = _read_statement(path, None, anchors)
    if inside is not None:
        return inside, None
    beside = [
        one for one in _sidecars(path) if is_there(one) and one.is_file() and 0 < one.stat().st_size <= LARGEST_SIDECAR
    ]
    found = [(said, one) for one in beside if (said := _read_statement(path, one, anchors)) is not None]
    return next((one for one in found if one[0].holds), found[0] if found else (None, None))


def _sidecars(path: Path) -> Sequence[Path]:
    """Beside the file, and beside that to which it is a link."""
    return tuple(dict.fromkeys((*sidecars_of(path), *sidecars_of(path.resolve()))))


def _read_statement(path: Path, sidecar: Path | None, anchors: bytes) -> Statement | None:
    beside = None if sidecar is None else sidecar.read_bytes()
    try:
        return _statement(path, beside, anchors)
    except c2pa.C2paError as error:
        if sidecar is None and not _mentions_manifest(path):
            return None  # of a format that holds none, or no media at all
        kind = str(error).split(":", 1)[0]
        return Statement(failures=(f"{UNREADABLE} ({printable(kind)})",))


@undisturbed
def _statement(path: Path, beside: bytes | None, anchors: bytes) -> Statement | None:
    with path.open("rb") as media, reading(media, beside, anchors) as reader:
        return None if reader is None else statement_of(reader)


def _mentions_manifest(path: Path) -> bool:
    if mime_of_file(path) == UNKNOWN:
        return False  # no media: it may be a text about manifests
    with path.open("rb") as file:
        return any(places(MANIFEST_STORE, file, len(MANIFEST_STORE)))
