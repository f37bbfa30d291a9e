"""`--verify`: what marks a file carries, and whether it is still as it was signed. Nothing is asked of any other machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import av
import c2pa

from utils.errors import UnreadableInput
from utils.inference.video.probing import open_video
from utils.provenance.credentials import read_small
from utils.provenance.formats import SIDECAR, mime_of_stream, sidecars_of
from utils.provenance.manifest import PACK_PARAMETER, failures_of, reading
from utils.provenance.marks import MADE_BY_MODELS, SOURCE_TYPES, xmp_source_types
from utils.signals import undisturbed

INTACT, UNMARKED, CHANGED = 0, 7, 8  # exit codes
VERDICTS = {
    INTACT: "marked as altered by AI, and as it was signed",
    UNMARKED: "not marked as altered by AI",
    CHANGED: "marked as altered by AI, but not as it was signed",
}
MANIFEST_STORE = b"jumdc2pa"  # stands in every file that holds a manifest, readable or not
LARGEST_SIDECAR = 64 << 20


@dataclass(frozen=True)
class Signature:
    """What the newest C2PA manifest of a file says.

    Attributes:
        sidecar: the file that it was read from, if it lies beside the media.
        actions: what was done, in order; C2PA's names.
        tools: name and version of what did it.
        pack: the model pack, if that is said.
        source_types: short names of the digital source types of all manifests of the file.
        signer: of the certificate.
        trusted: whether an authority that is trusted vouches for the signer.
        failures: C2PA's codes of what does not hold.
    """

    sidecar: str | None = None
    actions: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    pack: str = ""
    source_types: tuple[str, ...] = ()
    signer: str = ""
    trusted: bool = False
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """The marks of a file: source types in its XMP, in tags of its container, and its signature (None if there is none)."""

    file: str
    xmp: tuple[str, ...]
    tags: tuple[str, ...]
    signature: Signature | None

    @property
    def exit_code(self) -> int:
        """The verdict."""
        signed = self.signature.source_types if self.signature else ()
        if not MADE_BY_MODELS.intersection((*self.xmp, *self.tags, *signed)):
            damaged = self.signature is not None and self.signature.failures
            return CHANGED if damaged else UNMARKED
        return INTACT if self.signature is not None and not self.signature.failures else CHANGED

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**asdict(self), "exit_code": self.exit_code})

    def lines(self) -> list[str]:
        """For people."""
        said = [("XMP", self.xmp), ("container", self.tags)]
        marks = [f"  {place}: {', '.join(types)}" for place, types in said if types]
        return [f"{self.file}: {VERDICTS[self.exit_code]}", *marks, *self._signature_lines()]

    def _signature_lines(self) -> list[str]:
        signature = self.signature
        if signature is None:
            why = "; it was never signed, or was lost when the file was edited or encoded again"
            return [f"  C2PA: no manifest{why if self.exit_code == CHANGED else ''}"]
        place = f" (in {signature.sidecar})" if signature.sidecar else ""
        what = ", ".join(filter(None, [*signature.tools, signature.pack and f"pack {signature.pack}"]))
        lines = [f"  C2PA{place}: {', '.join(signature.actions) or 'a manifest'}{f' by {what}' if what else ''}"]
        if signature.failures:
            lines.append(f"  does not hold: {', '.join(signature.failures)}; the file was changed after it was signed")
        else:
            lines.append("  signature and hashes hold")
        if signature.signer:
            known = "trusted" if signature.trusted else "unknown: no trusted authority vouches for that name"
            lines.append(f"  signed by: {signature.signer} ({known})")
        return lines


def verify(path: Path, trust: Path | None = None) -> Findings:
    """Read all marks of a file.

    Args:
        path: of any format.
        trust: PEM, certificates of authorities that are trusted to name signers; None trusts nobody.

    Raises:
        UnreadableInput: if a file cannot be read, or is itself the sidecar of another.
    """
    anchors = b"" if trust is None else read_small(trust)
    try:
        if not S_ISREG(path.stat().st_mode):
            raise UnreadableInput(f"{str(path)!r} is not a file; give a picture or a video")
        if _mime_of(path) == SIDECAR:
            raise UnreadableInput(f"{str(path)!r} holds the signature of a file that lies beside it; give that file")
        xmp = tuple(sorted(xmp_source_types(path)))
        return Findings(str(path), xmp, _tag_source_types(path), _signature(path, anchors))
    except OSError as error:
        raise UnreadableInput(f"cannot read {str(path)!r} ({error.strerror or error}); check the path") from error


def _mime_of(path: Path) -> str:
    with path.open("rb") as file:
        return mime_of_stream(file)


def _tag_source_types(path: Path) -> tuple[str, ...]:
    if not _mime_of(path).startswith("video/"):
        return ()
    try:
        with open_video(path) as container:
            texts = list(container.metadata.values())
    except (UnreadableInput, av.FFmpegError):
        return ()  # damaged: what the other marks say is still told
    return tuple(sorted({kind for kind in MADE_BY_MODELS for text in texts if f"{SOURCE_TYPES}{kind}" in text}))


def _signature(path: Path, anchors: bytes) -> Signature | None:
    embedded = _read_signature(path, None, anchors)
    if embedded is not None:
        return embedded
    sidecar = next((one for one in sidecars_of(path) if one.is_file() and one.stat().st_size <= LARGEST_SIDECAR), None)
    return None if sidecar is None else _read_signature(path, sidecar, anchors)


@undisturbed
def _read_signature(path: Path, sidecar: Path | None, anchors: bytes) -> Signature | None:
    beside = None if sidecar is None else sidecar.read_bytes()
    name = None if sidecar is None else str(sidecar)
    with path.open("rb") as media:
        try:
            with reading(media, beside, anchors) as reader:
                return None if reader is None else _describe(reader, name)
        except c2pa.C2paError as error:
            if sidecar is None and not _mentions_manifest(path):
                return None  # of a format that holds none, or no media at all
            kind = str(error).split(":", 1)[0]
            return Signature(sidecar=name, failures=(f"unreadable manifest ({kind})",))


def _describe(reader: c2pa.Reader, sidecar: str | None) -> Signature:
    store = json.loads(reader.json())
    manifests = store["manifests"]
    newest = manifests[store["active_manifest"]]
    actions = _actions(newest)
    signer = newest.get("signature_info", {})
    agents = [action.get("softwareAgent") for action in actions]
    tools = [agent if isinstance(agent, dict) else {"name": agent} for agent in agents if agent]
    return Signature(
        sidecar=sidecar,
        actions=tuple(str(action.get("action")) for action in actions),
        tools=tuple(dict.fromkeys(f"{tool.get('name')} {tool.get('version', '')}".strip() for tool in tools)),
        pack=next((str(pack) for action in actions if (pack := action.get("parameters", {}).get(PACK_PARAMETER))), ""),
        source_types=tuple(
            sorted(
                {
                    str(action["digitalSourceType"]).rpartition("/")[2]
                    for manifest in manifests.values()
                    for action in _actions(manifest)
                    if action.get("digitalSourceType")
                }
            )
        ),
        signer=", ".join(filter(None, (signer.get("common_name"), signer.get("issuer")))),
        trusted=reader.get_validation_state() == "Trusted",
        failures=tuple(sorted(set(failures_of(reader)))),
    )


def _actions(manifest: dict[str, Any]) -> Sequence[dict[str, Any]]:
    assertions = manifest.get("assertions", [])
    return [
        action
        for assertion in assertions
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]


def _mentions_manifest(path: Path) -> bool:
    with path.open("rb") as file:
        tail = b""
        while block := file.read(1 << 20):
            if MANIFEST_STORE in tail + block:
                return True
            tail = block[-len(MANIFEST_STORE) :]
    return False
