"""Measure how steady and how punctual the swap of a video is: jitter, lag, expression, and flicker of a still face.

    python -m utils.evaluate.steadiness VIDEO_FOLDER [--clips 01 07] [--frames 200] [--sources FILE ...]

Each clip's first frames go through the real two passes in memory (what the encoder loses is not part of it); everybody in the first frame
gets the source. Then the pack's own detector and landmarker look at every frame of the original and of the result by itself, without any
memory or smoothing, and each person's 478 landmarks (x, y) make two tracks:

jitter      mean length of the landmarks' acceleration p[t-1] - 2 p[t] + p[t+1] in the result, over the same in the original
shift       frames by which the result comes late: the s that brings (result - original), less its mean over time, nearest to -s times the
            original's velocity (p[t+1] - p[t-1]) / 2, by least squares over all landmarks and frames
lag         the same as a way: mean offset of the result's landmarks along the original's direction of motion, weighted by speed, over
            the eye distance; positive behind the motion
mouth, eyes slope of the result's opening (height / width) over the original's, by least squares: 1 opens as far, 0 stays as it is

Still face: a photo, repeated with sensor noise and a little unsteady gain, goes through the same passes. Inside the mask (where the last
frame's weight is a half or more):

fine        mean absolute change from frame to frame of the result over that of the input
coarse      the same after a blur that takes the noise away and leaves flicker of light, colour and shape
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LANDMARK_COUNT, LEFT_EYE, RIGHT_EYE
from models.mesh.shape import eye_opening
from models.packs import load_builtin_pack
from utils.errors import BadArgument, SwapError
from utils.evaluate.clips import Frames, persons_of, same_face, swap_clip
from utils.evaluate.expression import landmarks_of, mouth_opening
from utils.flag_types import positive_int
from utils.inference.alignment import invert
from utils.inference.face_swapper import FaceSwapper
from utils.inference.frame_records import FrameRecord
from utils.inference.image_processing import crop_face, find_faces, get_final_image
from utils.inference.records import Face, Identity, Image, Mask, Points
from utils.inference.video_processing import get_target, read_video
from utils.pictures import read_picture

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "images"
STILL_FRAMES = 40
NOISE_LEVELS = 2.5  # standard deviation of the noise of every pixel, in grey levels
GAIN_NOISE = 0.003  # standard deviation of the whole frame's exposure
COARSE_BLUR_PX = 4.0


@dataclass(frozen=True)
class Steadiness:
    """One person of one clip: see the module for each figure; `missing` counts frames in which the result shows no face."""

    jitter: float
    shift_frames: float
    lag: float
    mouth: float
    eyes: float
    missing: int


def analyse_and_render(
    frames: Frames, swapper: FaceSwapper, source: Identity, persons: Sequence[Identity]
) -> tuple[list[FrameRecord], Iterator[Image]]:
    """Both passes over frames in memory: everybody of `persons` gets `source`. Records, and result frames as they are made."""
    records, compositions = swap_clip(frames, swapper, source, persons)
    return records, (get_final_image(made.frame, made.aligned, made.generated) for made in compositions)


def measure_tracks(frames: Iterable[Image], swapper: FaceSwapper, wanted: Sequence[Sequence[Face | None]]) -> Points:
    """Landmarks of persons, frame by frame.

    Args:
        frames: BGR uint8.
        swapper: whose detector and landmarker are used.
        wanted: of each frame, where about each of P persons is.

    Returns:
        (P, T, 478, 2) in pixels; NaN where a person is not found.
    """
    tracks = []
    for image, places in zip(frames, wanted, strict=True):
        found, _ = find_faces(image, swapper.pack)
        tracks.append([track_of(same_face(found, place)) for place in places])
    return np.array(tracks).transpose(1, 0, 2, 3)


def track_of(face: Face | None) -> Points:
    """(478, 2) landmarks; NaN if there is no face."""
    return np.full((LANDMARK_COUNT, 2), np.nan) if face is None else landmarks_of(face)[:, :2]


def jitter_ratio(before: Points, after: Points) -> float:
    """Mean length of the acceleration of `after` over that of `before`; (T, L, 2) each, frames with NaN left out."""

    def acceleration(track: Points) -> NDArray[np.float64]:
        return np.linalg.norm(track[:-2] - 2 * track[1:-1] + track[2:], axis=-1)

    ours, theirs = acceleration(after), acceleration(before)
    both = np.isfinite(ours) & np.isfinite(theirs)
    return float(ours[both].mean() / theirs[both].mean())


def measure_lag(before: Points, after: Points) -> tuple[float, float]:
    """By how much `after` trails `before`, (T, L, 2) each: in frames, and in pixels along the motion.

    The velocity at a frame does not depend on that frame's own noise, so that noise alone gives no lag.

    >>> t = np.linspace(0, 6, 200)[:, None, None]
    >>> track = np.concatenate([30 * np.sin(t), 20 * np.cos(t)], -1)
    >>> [round(value, 2) for value in measure_lag(track[1:], track[:-1] + 5)]
    [1.0, 0.76]
    """
    velocity = (before[2:] - before[:-2]) / 2
    offset = (after - before)[1:-1]
    seen = np.isfinite(velocity).all((1, 2)) & np.isfinite(offset).all((1, 2))
    velocity, offset = velocity[seen], offset[seen] - offset[seen].mean(0)
    along = float((offset * velocity).sum())
    return -along / float((velocity**2).sum()), -along / float(np.linalg.norm(velocity, axis=-1).sum())


def slope(before: Sequence[float], after: Sequence[float]) -> float:
    """Of `after` over `before`, by least squares; values that are not finite are left out."""
    x, y = np.asarray(before), np.asarray(after)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known] - x[known].mean(), y[known] - y[known].mean()
    return float((x * y).sum() / max(float((x * x).sum()), 1e-12))


def judge(before: Points, after: Points) -> Steadiness:
    """All figures of one person's tracks, (T, 478, 2) each."""
    shift, way_px = measure_lag(before, after)
    corners = before[:, [RIGHT_EYE.outer, RIGHT_EYE.inner, LEFT_EYE.inner, LEFT_EYE.outer]]
    eye_distance = float(np.nanmean(np.linalg.norm(corners[:, 2:].mean(1) - corners[:, :2].mean(1), axis=-1)))

    def lids(points: Points) -> float:
        return float(np.mean([eye_opening(points, eye) for eye in EYES]))

    mouth, eyes = (
        slope([opening(points) for points in before], [opening(points) for points in after])
        for opening in (mouth_opening, lids)
    )
    missing = int((np.isnan(after).any((1, 2)) & np.isfinite(before).all((1, 2))).sum())
    return Steadiness(jitter_ratio(before, after), shift, way_px / eye_distance, mouth, eyes, missing)


def measure_clip(path: Path, swapper: FaceSwapper, source: Identity, most_frames: int) -> list[Steadiness]:
    """Every person of a clip's first frame, from left to right."""
    video = read_video(path)

    def frames() -> Iterator[Image]:
        return (image for _, image in get_target(video, max_frames=most_frames))

    persons = persons_of(next(frames()), swapper, path.name)
    records, results = analyse_and_render(frames, swapper, source, persons)
    places = [
        [{number: swap.face for number, swap in record.swaps}.get(person) for person in range(len(persons))]
        for record in records
    ]
    after = measure_tracks(results, swapper, places)
    before = measure_tracks(frames(), swapper, places)
    return [judge(*tracks) for tracks in zip(before, after, strict=True)]


def add_sensor_noise(image: Image, count: int) -> Iterator[Image]:
    """`image` as a camera on a tripod would see it, `count` times; always the same frames."""
    random = np.random.default_rng(0)
    for _ in range(count):
        gain = 1 + GAIN_NOISE * random.standard_normal()
        noise = NOISE_LEVELS * random.standard_normal(image.shape, dtype=np.float32)
        yield np.clip(np.rint(image * gain + noise), 0, 255).astype(np.uint8)


def change_ratio(before: Sequence[Image], after: Sequence[Image], inside: NDArray[np.bool_], blur_px: float) -> float:
    """Mean absolute change from frame to frame inside a region, of `after` over `before`; `blur_px` 0 for the pixels as they are."""

    def change(frames: Sequence[Image]) -> float:
        pictures = [frame.astype(np.float32) for frame in frames]
        if blur_px:
            pictures = [cv2.GaussianBlur(picture, (0, 0), blur_px) for picture in pictures]
        return float(np.mean([np.abs(second - first)[inside].mean() for first, second in pairwise(pictures)]))

    return change(after) / change(before)


def measure_still(photo: Path, swapper: FaceSwapper, source: Identity) -> tuple[float, float]:
    """Fine and coarse change of the largest face of a photo."""
    image = read_picture(photo).bgr
    before = list(add_sensor_noise(image, STILL_FRAMES))
    person = swapper.identify(image, photo.name)
    records, results = analyse_and_render(lambda: iter(before), swapper, source, [person])
    after = list(results)
    inside = mask_of(before[-1], records[-1], swapper, source) >= 0.5
    return change_ratio(before, after, inside, 0), change_ratio(before, after, inside, COARSE_BLUR_PX)


def mask_of(image: Image, record: FrameRecord, swapper: FaceSwapper, source: Identity) -> Mask:
    """(H, W) float32: the weight of the first swapped face of a frame."""
    _, swap = record.swaps[0]
    aligned = crop_face(image, swap.face, swapper.pack, swap.treatment)
    (generated,) = swapper.pack.generator.generate([aligned], [source])
    return cv2.warpAffine(generated.mask, invert(aligned.frame_to_crop), image.shape[1::-1]).astype(np.float32)


def find_clip(folder: Path, name: str) -> Path:
    """The video whose name starts with `name`.

    Raises:
        BadArgument: if there is none.
    """
    clips = sorted(folder.glob(f"{name}*.mp4"))
    if not clips:
        raise BadArgument(f"no {f'{name}*.mp4'!r} in {str(folder)!r}; give the start of a clip's name with --clips")
    return clips[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure clips and still photos; return the exit code of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate.steadiness", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="VIDEO_FOLDER")
    parser.add_argument(
        "--clips", nargs="*", default=["01", "07"], help="starts of names (01 07); none: still photos only"
    )
    parser.add_argument("--frames", type=positive_int, default=200, help="of each clip, from its start (200)")
    parser.add_argument("--sources", nargs="+", type=Path, default=[EXAMPLES / "grace_hopper.jpg"])
    parser.add_argument("--photos", nargs="*", type=Path, default=[EXAMPLES / "eileen_collins.png"], help="still faces")
    args = parser.parse_args(argv)
    try:
        swapper = FaceSwapper(load_builtin_pack())
        for path in args.sources:
            source = swapper.identify(read_picture(path).bgr, path.name)
            for clip in [find_clip(args.folder, name) for name in args.clips]:
                for number, person in enumerate(measure_clip(clip, swapper, source, args.frames), start=1):
                    print(
                        f"{path.stem:<14} {clip.stem[:24]:<24} person {number}  jitter {person.jitter:.3f}"
                        f"  shift {person.shift_frames:+.3f}  lag {person.lag:+.4f}"
                        f"  mouth {person.mouth:.2f}  eyes {person.eyes:.2f}  missing {person.missing}",
                        flush=True,
                    )
            for photo in args.photos:
                fine, coarse = measure_still(photo, swapper, source)
                print(f"{path.stem:<14} {photo.stem:<24} still     fine {fine:.3f}  coarse {coarse:.3f}", flush=True)
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
