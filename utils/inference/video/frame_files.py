"""Frames as picture files: staged in the workspace, segment by segment, and moved to their folders when all is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from utils.errors import BadArgument, UnwritableOutput
from utils.files import TEMPORARY_PREFIX, real_path
from utils.inference.image_processing import get_layers
from utils.inference.records import Composition, Image
from utils.inference.video.options import VideoOptions
from utils.inference.video.pictures import is_sequence, names_like, numbered, sequence_files
from utils.inference.video.pixels import StoredFrame
from utils.inference.video.probing import check_video_extension
from utils.inference.video.workspace import BEGUN_NAME
from utils.picture_codecs import StoredPicture, encode_picture
from utils.pictures import check_picture_extension, put_back
from utils.provenance.marking import Marking

NAME = Path("%06d.png")


@dataclass(frozen=True)
class FrameFiles:
    """Which pictures of every frame are written.

    Attributes:
        sequence: the result itself as numbered files; None if it is a video.
        frames: folder for the frames of the result; None for none.
        matte: folder for the unblended faces and their masks; None for none.
        numbers: of the frames of the result, in order; known once the target was read.
    """

    sequence: Path | None
    frames: Path | None
    matte: Path | None
    numbers: Sequence[int] = ()

    @property
    def targets(self) -> dict[str, Path]:
        """Kind of picture, which is also the name of its folder in a segment, and where files of that kind go, as numbered names."""
        targets = {} if self.sequence is None else {"sequence": self.sequence}
        if self.frames is not None:
            targets["frames"] = self.frames / NAME
        if self.matte is not None:
            targets |= {"face": self.matte / "face" / NAME, "mask": self.matte / "mask" / NAME}
        return targets


def check_output(out: Path) -> None:
    """Refuse an output name that neither a video nor numbered pictures are written with.

    Raises:
        BadArgument: with those that can.
    """
    (check_picture_extension if is_sequence(out) else check_video_extension)(out)


def frame_files(out: Path, options: VideoOptions) -> FrameFiles:
    """The pictures that a run is to write beside, or in place of, a video."""
    return FrameFiles(out if is_sequence(out) else None, options.keep_frames, options.matte)


def check_places(out: Path, files: FrameFiles, inputs: Iterable[Path]) -> None:
    """Refuse outputs that get into each other's way or into that of an input; nothing needs to be there yet.

    Raises:
        BadArgument: naming what collides.
        UnwritableOutput: if a folder cannot be looked into.
    """
    flags = {"--out_video_name": files.sequence and out.parent, "--keep_frames": files.frames, "--matte": files.matte}
    folders = {flag: real_path(folder) for flag, folder in flags.items() if folder is not None}
    kinds = {kind: real_path(target) for kind, target in files.targets.items()}
    parents = [target.parent for target in kinds.values()]
    if len({*parents}) < len(parents) or (files.matte and folders.get("--keep_frames") == folders["--matte"]):
        named = " and ".join(f"{flag} {str(flags[flag])!r}" for flag in folders)
        raise BadArgument(f"{named} would write into one folder; give each its own folder")
    for flag, folder in folders.items():
        below = [target.parent for target in kinds.values() if target.is_relative_to(folder)]
        way = {path for place in (folder, *below) for path in (place, *place.parents)}
        blocked = real_path(out) in way
        for target in kinds.values():
            blocked = blocked or any(p.parent == target.parent and names_like(target).fullmatch(p.name) for p in way)
        if blocked:
            raise BadArgument(
                f"{flag} {str(flags[flag])!r} is, or lies below, a file of the output; choose another folder"
            )
    read = {real_path(path) for path in inputs}
    for target in files.targets.values():
        if any(real_path(path) in read for path in _files_there(target)):
            raise BadArgument(
                f"files named like {str(target)!r} are also an input; choose another name, nothing is overwritten in place"
            )


def check_room(files: FrameFiles) -> None:
    """Refuse places that hold something: old and new frames would mix.

    Raises:
        BadArgument: naming the flag.
        UnwritableOutput: if a folder cannot be looked into, or made.
    """
    try:
        for flag, folder in (("--keep_frames", files.frames), ("--matte", files.matte)):
            _check_parent(folder)
            if (
                folder is not None
                and folder.exists()
                and (not folder.is_dir() or any(map(_is_foreign, folder.iterdir())))
            ):
                raise BadArgument(f"{flag} {str(folder)!r} is no empty folder; give a new one")
    except OSError as error:
        raise _unreadable(error) from error
    if files.sequence is not None and _files_there(files.sequence):
        name = str(files.sequence)
        raise BadArgument(f"there are files named like {name!r} already; choose another name, or move them away")


def check_room_in(files: FrameFiles, workspace: Path) -> None:
    """`check_room` for a run whose work is to be kept: a resumed one, which may have begun to publish, or one that is done.

    Args:
        files: says what is written.
        workspace: the work folder.

    Raises:
        UnwritableOutput: if there is no room, and publishing was not begun; then what lies there is not this run's.
    """
    if not (workspace / BEGUN_NAME).exists():
        try:
            check_room(files)
        except BadArgument as error:
            raise UnwritableOutput(str(error)) from error


def begin_publishing(files: FrameFiles, workspace: Path) -> None:
    """Make sure that there is still room, and note that what is found there from now on is this run's own.

    Raises:
        UnwritableOutput: see `check_room_in`.
    """
    check_room_in(files, workspace)
    (workspace / BEGUN_NAME).touch()


def _is_foreign(path: Path) -> bool:
    """Whether a file is none of the hidden ones of a run whose output is in the same folder."""
    return not path.name.startswith(TEMPORARY_PREFIX)


def _files_there(target: Path) -> list[Path]:
    try:
        return [path for _, path in sequence_files(target)] if target.parent.is_dir() else []
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> UnwritableOutput:
    return UnwritableOutput(f"cannot look into {error.filename!r} ({error.strerror}); choose another folder")


def _check_parent(folder: Path | None) -> None:
    """Find out before the work whether a folder can be made."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None) if folder else None
    if there is not None and ((there != folder and not there.is_dir()) or not os.access(there, os.W_OK)):
        raise UnwritableOutput(f"cannot write into {str(folder)!r}; choose another folder")


def stage_frame(
    position: int,
    original: StoredFrame,
    composition: Composition,
    result: Image,
    segment: Path,
    files: FrameFiles,
    marking: Marking,
) -> None:
    """Write the pictures of one frame into the folder of its segment, each signed.

    Args:
        position: of the frame in the result, from 0 on.
        original: the frame as it was decoded; the depth and alpha of a picture file are kept in a sequence.
        composition: what was generated for it.
        result: (H, W, 3) BGR uint8, the final picture.
        segment: folder; made if it is not there.
        files: says what is written.
        marking: see there.
    """
    from utils.provenance.manifest import sign_picture

    pictures = {"frames": StoredPicture(result)}
    if files.sequence is not None:
        stored = original.picture
        whole = (
            StoredPicture(result)
            if stored is None
            else replace(stored.stored, pixels=put_back(stored, result, marking.label))
        )
        pictures["sequence"] = whole
    if files.matte is not None:
        faces, matte = get_layers(composition.frame, composition.aligned, composition.generated)
        pictures |= {"face": StoredPicture(faces), "mask": StoredPicture(matte)}
    # A whole video as target would have to be validated anew for each frame.
    target = b"" if original.picture is None else original.picture.encoded
    for kind, named in files.targets.items():
        path = segment / kind / numbered(named, files.numbers[position]).name
        encoded = encode_picture(pictures[kind], path, marking.keep_gps)
        encoded = sign_picture(encoded, target, marking)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded)
        except OSError as error:
            raise UnwritableOutput(f"cannot write {str(path)!r} ({error.strerror}); free some space") from error


def publish_frames(segments: Sequence[Path], files: FrameFiles) -> None:
    """Move the staged pictures of all segments, given by their folders, to where they belong.

    Raises:
        UnwritableOutput: if they cannot be moved there.
    """
    for kind, target in files.targets.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for segment in segments:
                for path in sorted((segment / kind).iterdir()):
                    shutil.move(path, target.parent / path.name)
        except OSError as error:
            raise UnwritableOutput(
                f"cannot write into {str(target.parent)!r} ({error.strerror or error}); choose another folder"
            ) from error
