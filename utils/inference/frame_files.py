"""Frames as picture files: staged in the workspace, segment by segment, and moved to their folders when all is done."""

from __future__ import annotations

import shutil
from pathlib import Path

from utils.errors import BadArgument, UnwritableOutput
from utils.inference.image_processing import get_layers
from utils.inference.records import Composition, Image
from utils.inference.video_options import VideoOptions
from utils.picture_codecs import StoredPicture, encode_picture

FRAMES, FACES, MASKS = "frames", "face", "mask"  # folders of a segment
NAME = "{:06d}.png"


def check_folders(options: VideoOptions) -> None:
    """Refuse folders for frames that hold something: old and new frames would mix.

    Raises:
        BadArgument: naming the flag.
    """
    wanted = (("--keep_frames", options.keep_frames), ("--matte", options.matte))
    if options.keep_frames is not None and options.keep_frames == options.matte:
        raise BadArgument(f"--keep_frames and --matte both name {str(options.matte)!r}; give each its own folder")
    for flag, folder in wanted:
        if folder is None:
            continue
        try:
            filled = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        except OSError as error:
            raise UnwritableOutput(
                f"cannot write into {str(folder)!r} ({error.strerror}); choose another folder"
            ) from error
        if filled:
            raise BadArgument(f"{flag} {str(folder)!r} is no empty folder; give a new one")


def stage_frame(number: int, composition: Composition, result: Image, segment: Path, options: VideoOptions) -> None:
    """Write what the options ask for of one frame into the folder of its segment.

    Args:
        number: of the frame in the result, from 1 on.
        composition: what was generated for it.
        result: (H, W, 3) BGR uint8, the final picture.
        segment: folder; made if it is not there.
        options: says what is written.
    """
    if options.keep_frames is not None:
        _write(segment / FRAMES / NAME.format(number), StoredPicture(result))
    if options.matte is not None:
        faces, matte = get_layers(composition.frame, composition.aligned, composition.generated, composition.strength)
        _write(segment / FACES / NAME.format(number), StoredPicture(faces))
        _write(segment / MASKS / NAME.format(number), StoredPicture(matte))


def publish_frames(segments: list[Path], options: VideoOptions) -> None:
    """Move the staged frames of all segments to the folders that the options name.

    Raises:
        UnwritableOutput: if they cannot be moved there.
    """
    targets = []
    if options.keep_frames is not None:
        targets.append((FRAMES, options.keep_frames))
    if options.matte is not None:
        targets += [(FACES, options.matte / FACES), (MASKS, options.matte / MASKS)]
    for kind, folder in targets:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for segment in segments:
                for path in sorted((segment / kind).iterdir()):
                    shutil.move(path, folder / path.name)
        except OSError as error:
            raise UnwritableOutput(
                f"cannot write into {str(folder)!r} ({error.strerror or error}); choose another folder"
            ) from error


def _write(path: Path, picture: StoredPicture) -> None:
    encoded = encode_picture(picture, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    except OSError as error:
        raise UnwritableOutput(f"cannot write {str(path)!r} ({error.strerror}); free some space") from error
