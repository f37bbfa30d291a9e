"""The last step of a video: what says to machines that it was altered, bound to its bytes."""

from __future__ import annotations

from pathlib import Path

from utils.files import finished_file
from utils.inference.stopwatch import stage
from utils.provenance.formats import sidecars_of
from utils.provenance.marking import Marking
from utils.provenance.marks import append_xmp_to_mp4

HOLDS_MANIFEST = (".mp4", ".m4v", ".mov")


@stage("sign")
def mark_video(path: Path, out: Path, target: Path | None, marking: Marking) -> None:
    """Add XMP and a signed manifest to a finished video; the manifest lies beside it if its container cannot hold one.

    Args:
        path: the video; replaced.
        out: the name that it will have.
        target: the file that it was made from; None if there were many.
        marking: see there.

    Raises:
        UnwritableOutput: if something cannot be written.
    """
    from utils.provenance.manifest import detached_manifest, sign_file

    if out.suffix.lower() in HOLDS_MANIFEST:
        append_xmp_to_mp4(path)
        with finished_file(path) as signed:
            sign_file(path, signed, target, marking)
        return
    with finished_file(sidecars_of(out)[0]) as sidecar:
        sidecar.write_bytes(detached_manifest(path, target, marking))
