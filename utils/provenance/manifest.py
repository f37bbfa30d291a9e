"""Signed C2PA manifests: what was done to which target, bound to every byte of the result.

The target is the parent of the result; its own manifest is passed on, without what would show the face or the place. There is no thumbnail,
no path and no name of a machine in a manifest, and nothing is asked of or sent to any other machine. Source: C2PA 2.2.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import c2pa

from utils.errors import BadArgument, UnwritableOutput
from utils.provenance.credentials import Credentials, local_credentials
from utils.provenance.formats import mime_of_stream
from utils.provenance.marking import Marking
from utils.provenance.marks import DIGITAL_SOURCE_TYPE
from utils.provenance.statement import PACK_PARAMETER, UNTRUSTED, damage_codes, failure_codes
from utils.signals import undisturbed
from utils.version import TOOL_NAME, __version__

SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # it would show the face before
    "core": {"allowed_network_hosts": []},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
}
THUMBNAILS = ("c2pa.thumbnail",)
# What is passed on of the target's own manifests: what was done, bound to what, and what its author does not allow. Anything else may say
# where it was taken, or by whom.
PASSED_ON = ("c2pa.actions", "c2pa.hash.", "c2pa.ingredient", "c2pa.training-mining", "cawg.training-mining")
HASH_MISMATCH = "Hash.mismatch"  # end of C2PA's codes for media that are not what was signed
# A grey pixel, to try credentials on.
TINY_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6368000000820081ddcb5a3a0000000049454e44ae426082"
)


def sign_picture(encoded: bytes, target: bytes, marking: Marking) -> bytes:
    """An encoded picture with its manifest.

    Args:
        encoded: PNG, JPEG, WebP or TIFF.
        target: the encoded picture, of any format, that it was made from; may be empty.
        marking: see there.

    Raises:
        UnwritableOutput: if the manifest cannot be written.
    """
    signed = io.BytesIO()
    _sign(io.BytesIO(encoded), signed, io.BytesIO(target), marking, embedded=True)
    return signed.getvalue()


def sign_file(path: Path, signed: Path, target: Path | None, marking: Marking) -> None:
    """Write a copy of a file with its manifest.

    Args:
        path: MP4, MOV, or a picture as `sign_picture` takes it.
        signed: the copy.
        target: the file that it was made from, of any format; None says nothing about it.
        marking: see there.

    Raises:
        OSError: if a file cannot be read or written.
        UnwritableOutput: if the manifest cannot be written.
    """
    with path.open("rb") as source, signed.open("w+b") as copy, _open_target(target) as original:
        _sign(source, copy, original, marking, embedded=True)


def detached_manifest(path: Path, target: Path | None, marking: Marking) -> bytes:
    """The manifest of a file whose format cannot hold one; see `sign_file`."""
    with path.open("rb") as source, _open_target(target) as original:
        return _sign(source, io.BytesIO(), original, marking, embedded=False)


@contextmanager
@undisturbed
def reading(media: BinaryIO, sidecar: bytes | None = None, anchors: bytes = b"") -> Iterator[c2pa.Reader | None]:
    """The manifests of a file, validated; None if it has none.

    Args:
        media: a file of any format.
        sidecar: a manifest that lay beside it.
        anchors: PEM, certificates that are trusted to issue others.

    Raises:
        c2pa.C2paError: if there is something that cannot be read as a manifest, or the file is damaged.
    """
    reader = c2pa.Reader.try_create(mime_of_stream(media) if sidecar else None, media, sidecar, _context(anchors))
    if reader is None:
        yield None
        return
    with reader:
        yield reader


def check_credentials(credentials: Credentials, path: Path) -> None:
    """Make sure, before any work, that a manifest which is signed with these would be valid; `path` is for messages.

    Raises:
        BadArgument: with what C2PA finds wrong.
    """
    try:
        signed = sign_picture(TINY_PNG, b"", Marking(credentials=credentials))
        with reading(io.BytesIO(signed)) as reader:
            assert reader is not None
            failures = [code for code in failure_codes(reader.get_validation_results()) if code != UNTRUSTED]
    except UnwritableOutput as error:
        failures = [str(error.__cause__)]
    if failures:
        raise BadArgument(
            f"manifests cannot be signed with {str(path)!r} ({', '.join(failures)}); it needs the key usage digitalSignature and "
            "the extended one emailProtection or documentSigning, from an authority that is not itself"
        )


def _sign(source: BinaryIO, signed: BinaryIO, target: BinaryIO, marking: Marking, embedded: bool) -> bytes:
    """Write `source` with a manifest to `signed`; return the manifest. A target whose own manifest is damaged is one without."""
    try:
        return _sign_once(source, signed, target, marking, embedded)
    except c2pa.C2paError:
        signed.seek(0)
        signed.truncate()
    try:
        return _sign_once(source, signed, io.BytesIO(), marking, embedded)
    except c2pa.C2paError as error:
        raise UnwritableOutput(f"the result cannot be signed ({error}); is there enough space?") from error


@undisturbed
def _sign_once(source: BinaryIO, signed: BinaryIO, target: BinaryIO, marking: Marking, embedded: bool) -> bytes:
    redacted = _what_shows_too_much(target, marking.keep_gps)
    if redacted is None:
        target, redacted = io.BytesIO(), []
    credentials = marking.credentials or local_credentials()
    info = c2pa.C2paSignerInfo(credentials.algorithm, credentials.chain, credentials.key, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(_definition(marking, redacted), _context()) as builder:
        if not embedded:
            builder.set_no_embed()
        parent = {"relationship": "parentOf", "label": "target", "title": "target"}
        builder.add_ingredient_from_stream(json.dumps(parent), mime_of_stream(target), target)
        manifest: bytes = builder.sign(signer, mime_of_stream(source), source, signed)
    return manifest


def _definition(marking: Marking, redacted: list[str]) -> str:
    """What was done, as JSON for the builder."""
    edited: dict[str, Any] = {
        "action": "c2pa.edited",
        "description": "Face swap: faces may have been replaced by those of other persons",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": {"name": TOOL_NAME, "version": __version__},
    }
    if marking.pack:
        edited["parameters"] = {PACK_PARAMETER: marking.pack}
    actions = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": ["target"]}},
        *(
            {"action": "c2pa.redacted", "reason": "c2pa.PII.present", "parameters": {"redacted": address}}
            for address in redacted
        ),
        edited,
    ]
    return json.dumps(
        {
            "claim_generator_info": [{"name": TOOL_NAME, "version": __version__}],
            "redactions": redacted or None,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }
    )


def _what_shows_too_much(target: BinaryIO, keep_gps: bool) -> list[str] | None:
    """Addresses of those assertions in the target's own manifests that show its faces, or say where it was taken.

    None if its manifest is damaged: what took it over would be damaged, too. If only its pictures were changed since, that can be told.
    """
    try:
        with reading(target) as reader:
            if reader is None:
                return []
            damage = damage_codes(reader.get_validation_results())
            manifests = json.loads(reader.detailed_json()).get("manifests")
    except c2pa.C2paError:  # not of a kind that can hold one, or unreadable as a whole: nothing of it can be passed on
        return []
    if not manifests or not all(code.endswith(HASH_MISMATCH) for code in damage):
        return None
    return [
        f"self#jumbf=/c2pa/{label}/c2pa.assertions/{assertion}"
        for label, manifest in manifests.items()
        for assertion in manifest.get("assertion_store", {})
        if assertion.startswith(THUMBNAILS) or not (keep_gps or assertion.startswith(PASSED_ON))
    ]


def _open_target(target: Path | None) -> BinaryIO:
    return io.BytesIO() if target is None else target.open("rb")


@cache
def _context(anchors: bytes = b"") -> c2pa.Context:
    trust = {"trust": {"user_anchors": anchors.decode("ascii", "replace")}} if anchors else {}
    return c2pa.Context(c2pa.Settings.from_dict({**SETTINGS, **trust}))
