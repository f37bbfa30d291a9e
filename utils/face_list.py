"""`--list_faces`: everybody in a target as a photo that `--target_faces_paths` takes, and where they are seen."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.errors import BadArgument, NoFaceFound, UnwritableOutput
from utils.files import finished_file, shown
from utils.inference.core import Analysis
from utils.inference.model_pack import ModelPack
from utils.inference.records import Face, Image
from utils.inference.tracking.people import FoundPerson, believable, find_people
from utils.inference.tracking.tracks import Tracker
from utils.inference.video.options import VideoOptions
from utils.inference.video.parts import shown_times
from utils.inference.video_processing import VideoInfo, get_target, read_target
from utils.limits import Limits
from utils.pictures import read_picture
from utils.progress import Progress

MARGIN = 0.5  # around a face's box, in its sides: enough to be found again, too little for a neighbour to be larger


def list_faces(
    target: Path,
    options: VideoOptions | None,
    limits: Limits,
    folder: Path,
    pack: ModelPack,
    similarity_th: float | None,
    progress: Progress,
) -> list[str]:
    """Write one photo a person, and `people.json`.

    Args:
        target: picture or video.
        options: which part of a video; None for a picture.
        limits: of the picture.
        folder: empty or not there yet.
        pack: the loaded models.
        similarity_th: None for the pack's own.
        progress: shows the analysis.

    Returns:
        One line a person: photo and frames.

    Raises:
        BadArgument: if the folder holds anything.
        UnreadableInput: if the target cannot be decoded.
        NoFaceFound: if nobody is in it.
        UnwritableOutput: if the folder cannot be written.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise UnwritableOutput(
            f"cannot look into {str(folder)!r} ({error.strerror}); choose another name or folder"
        ) from error
    if taken:
        raise BadArgument(f"--list_faces {str(folder)!r} is not an empty folder; choose another name")
    threshold = pack.similarity_th if similarity_th is None else similarity_th
    analysis = Analysis(pack, Tracker(pack.embedder, threshold))
    skipped = 0
    if options is None:
        picture = read_picture(target, limits).bgr
        _exhaust(analysis.analyse([(0, picture)]))
    else:
        video = read_target(target, options)
        skipped = _frames_before(video)
        frames = progress(get_target(video), "analyse", video.frame_count_estimate)
        _exhaust(analysis.analyse(frames, video.frame_bytes))
    tracks = analysis.tracker.tracks
    faces = tracks if options is None else believable(tracks, pack.detector.det_thresh)
    people = find_people(faces, analysis.tracker.companies, threshold)
    if not people:
        raise NoFaceFound(f"no face found in {str(target)!r}; lower --det_thresh or use a clearer target")
    fields, lines = [], []
    for number, person in enumerate(people, 1):
        best = person.best
        frame = picture if options is None else next(image for _, image in get_target(video, best.pts, max_frames=1))
        path = folder / f"person_{number:02d}.png"
        with finished_file(path) as unfinished:
            unfinished.write_bytes(cv2.imencode(".png", crop_around(frame, best.face))[1].tobytes())
        stretches = [(first + skipped, last + skipped) for first, last in person.frames]
        fields.append(_person_to_json(path.name, person, stretches, best.frame + skipped))
        lines.append(f"{shown(path)}: {_frames_text(stretches)}")
    with finished_file(folder / "people.json") as unfinished:
        unfinished.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    return lines


def crop_around(image: Image, face: Face) -> Image:
    """The part of `image`, (H, W, 3), with a face and some of what is around it."""
    left, top, right, bottom = face.box
    margin = MARGIN * max(right - left, bottom - top)
    low = np.clip(np.floor((left - margin, top - margin)), 0, None).astype(int)
    high = np.ceil((right + margin, bottom + margin)).astype(int)
    return image[low[1] : high[1], low[0] : high[0]]


def _frames_before(video: VideoInfo) -> int:
    """How many frames of the whole video lie before the wanted part; frames are numbered as `--start` takes them."""
    return 0 if video.start_s is None else bisect_left(shown_times(video), round(video.start_s / video.time_base))


def _person_to_json(
    photo: str, person: FoundPerson, stretches: Sequence[tuple[int, int]], best_frame: int
) -> dict[str, Any]:
    frames = [list(stretch) for stretch in stretches]
    return {"photo": photo, "frames": frames, "faces": person.faces, "best_frame": best_frame}


def _frames_text(frames: Sequence[tuple[int, int]]) -> str:
    stretches = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in frames)
    return f"frames {stretches}"


def _exhaust(records: Iterable[object]) -> None:
    for _ in records:
        pass
