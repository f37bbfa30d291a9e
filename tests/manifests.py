"""Files as other programs sign them: cameras, editors, and whoever means no good. Not a test itself."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import c2pa

from utils.provenance.credentials import local_credentials
from utils.provenance.formats import HEAD_BYTES, mime_of
from utils.provenance.marks import SOURCE_TYPES

CAMERA = "digitalCapture"


def created(source_type: str, **more: object) -> dict[str, object]:
    """The action of a program that made a picture."""
    return {"action": "c2pa.created", "digitalSourceType": f"{SOURCE_TYPES}{source_type}", **more}


def sign(
    media: bytes,
    actions: Sequence[dict[str, object]],
    assertions: Sequence[dict[str, Any]] = (),
    parent: bytes | None = None,
) -> bytes:
    """The same media with a manifest; `parent` is what they were made from."""
    own = local_credentials()
    mime = mime_of(media[:HEAD_BYTES])
    definition = {
        "claim_generator_info": [{"name": "camera"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}, *assertions],
    }
    signed = io.BytesIO()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(own.algorithm, own.chain, own.key, None))
    with c2pa.Builder(json.dumps(definition)) as builder:
        if parent is not None:
            relation = {"relationship": "parentOf", "label": "parent"}
            builder.add_ingredient_from_stream(json.dumps(relation), mime, io.BytesIO(parent))
        builder.sign(signer, mime, io.BytesIO(media), signed)
    return signed.getvalue()
