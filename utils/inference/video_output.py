"""Where the result of a video goes: one file with segments beside it until it is done, or numbered pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UnwritableOutput
from utils.files import TEMPORARY_PREFIX, finished_file
from utils.inference.video_pictures import is_sequence
from utils.inference.video_probing import check_video_extension
from utils.pictures import check_picture_extension


def check_output(out: Path) -> None:
    """Refuse an output name that no video and no numbered picture is written with.

    Raises:
        BadArgument: with those that can.
    """
    if is_sequence(out):
        check_picture_extension(out)
    else:
        check_video_extension(out)


@contextmanager
def output_workspace(out: Path) -> Iterator[tuple[Path, Path]]:
    """The unfinished file, which gets its name when the block ends well, and a folder for all else, which is removed.

    Both lie beside the output, so that nothing is copied in the end. A sequence has no unfinished file: `out` is given back.

    Raises:
        UnwritableOutput: if they cannot be made.
    """
    if not is_sequence(out):
        with (
            finished_file(out) as unfinished,
            tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=unfinished.parent) as folder,
        ):
            yield unfinished, Path(folder)
        return
    there = next(folder for folder in out.absolute().parents if folder.is_dir())
    try:
        workspace = tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=there)
    except OSError as error:
        raise UnwritableOutput(f"cannot write {str(out)!r} ({error.strerror}); choose another folder") from error
    with workspace as folder:
        yield out, Path(folder)
