"""The last step of a video: what says to machines that it was altered, bound to its bytes."""

from __future__ import annotations

from pathlib import Path

from utils.errors import UnwritableOutput
from utils.files import real_path
from utils.inference.stopwatch import stage
from utils.provenance.formats import SIDECAR, mime_of_file, sidecars_of
from utils.provenance.marking import Marking
from utils.provenance.marks import append_xmp_to_mp4

HOLD_NO_MANIFEST = (".mkv", ".webm")


def sidecar_of(out: Path) -> Path | None:
    """Where the manifest of a video of this name lies if its container cannot hold one; beside the file itself if the name is a link.

    >>> sidecar_of(Path("clip.mkv")).name, sidecar_of(Path("clip.mp4"))
    ('clip.mkv.c2pa', None)
    """
    place = real_path(out)
    return sidecars_of(place)[0] if place.suffix.lower() in HOLD_NO_MANIFEST else None


def check_sidecar(out: Path) -> None:
    """Refuse an output in the place of whose manifest something else lies.

    Raises:
        UnwritableOutput: naming it.
    """
    sidecar = sidecar_of(out)
    try:
        if sidecar is not None and sidecar.exists() and not (sidecar.is_file() and mime_of_file(sidecar) == SIDECAR):
            raise UnwritableOutput(
                f"{str(sidecar)!r} is no manifest, and the one of {str(out)!r} is to have that name; move it, or choose another"
            )
    except OSError as error:
        raise UnwritableOutput(f"cannot look at {str(sidecar)!r} ({error.strerror}); choose another name") from error


@stage("sign")
def mark_video(path: Path, signed: Path, beside: Path | None, target: Path | None, marking: Marking) -> None:
    """Add XMP and a signed manifest to a finished video; the manifest lies beside it if its container cannot hold one.

    Args:
        path: the video; removed, if `signed` is another file.
        signed: the copy with all marks; `path` itself where the manifest lies beside it.
        beside: where the manifest goes then; None if it goes into the video.
        target: the file that it was made from; None if there were many.
        marking: see there.

    Raises:
        UnwritableOutput: if something cannot be written.
    """
    from utils.provenance.manifest import detached_manifest, sign_file

    if beside is not None:
        beside.write_bytes(detached_manifest(path, target, marking))
        return
    append_xmp_to_mp4(path)
    try:
        sign_file(path, signed, target, marking)
    finally:
        path.unlink(missing_ok=True)
