"""Judge the swap of clips: how faces fit into their frames, how well they follow the expression, and how steady they are.

    python -m utils.evaluate.clip_quality VIDEO ... [--source FILE] [--frames 200] [--every 10]

Everybody in a clip's first frame gets the source, in memory, so that no encoder is part of it. Every so many frames, `finish` and
`expression` judge each face; over all frames, `steadiness` says how its landmarks move, and `flicker` is the same for its colour:

flicker     mean length of the acceleration c[t-1] - 2 c[t] + c[t+1] of the mean colours (BGR) of CELLS x CELLS parts of the face in the
            result, over the same in the original
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.errors import SwapError
from utils.evaluate.clips import load_swapper, persons_of, same_face, swap_clip
from utils.evaluate.expression import compare_expressions, landmarks_of
from utils.evaluate.figures import FIGURES, FINISH_GOALS
from utils.evaluate.finish import FacePair, judge_finish
from utils.evaluate.steadiness import Steadiness, jitter_ratio, judge, track_of
from utils.evaluate.tables import Verdict, plain_text, verdict_table
from utils.flag_types import positive_int
from utils.inference.face_swapper import FaceSwapper
from utils.inference.image_processing import MATTE_FULL, find_faces, get_final_image, get_layers
from utils.inference.model_pack import ModelPack
from utils.inference.records import AlignedFace, Composition, Face, GeneratedFace, Identity, Image, Points
from utils.inference.video_processing import get_target, read_video
from utils.pictures import read_picture

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "images" / "grace_hopper.jpg"
CELLS = 8
Part: TypeAlias = tuple[AlignedFace, GeneratedFace]


@dataclass
class Seen:
    """What was seen of one person so far: (478, 2) landmarks and (CELLS², 3) colours of each frame, and figures of some frames."""

    before: list[Points] = field(default_factory=list)
    after: list[Points] = field(default_factory=list)
    colours_before: list[NDArray[np.float64]] = field(default_factory=list)
    colours_after: list[NDArray[np.float64]] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class ClipQuality:
    """One person of one clip; `figures` has a value for each frame that was judged."""

    steadiness: Steadiness
    flicker: float
    figures: dict[str, NDArray[np.float64]]


def measure_clip(
    path: Path, swapper: FaceSwapper, judging: ModelPack, source: Identity, most_frames: int, every_frames: int
) -> list[ClipQuality]:
    """Every person of a clip's first frame, from left to right; `judging` finds the landmarks that are compared."""
    video = read_video(path)

    def frames() -> Iterator[Image]:
        return (image for _, image in get_target(video, max_frames=most_frames))

    persons = persons_of(next(frames()), swapper, path.name)
    records, compositions = swap_clip(frames, swapper, source, persons)
    everybody = [Seen() for _ in persons]
    for number, (record, made) in enumerate(zip(records, compositions, strict=True)):
        result = get_final_image(made.frame, made.aligned, made.generated)
        found = [find_faces(image, judging)[0] for image in (made.frame, result)]
        faces = {person: swap.face for person, swap in record.swaps}
        for person, seen in enumerate(everybody):
            face = faces.get(person)
            before, after = (same_face(candidates, face) for candidates in found)
            seen.before.append(track_of(before))
            seen.after.append(track_of(after))
            part = _part_of(made, face)
            _note_colours(seen, made, result, part)
            if part is not None and before is not None and after is not None and number % every_frames == 0:
                _note_figures(seen, made, result, part, before, after)
    return [_sum_up(seen) for seen in everybody]


def mean_colours(image: Image, place: AlignedFace, face: GeneratedFace) -> NDArray[np.float64]:
    """(CELLS², 3) mean BGR of the parts of a face's crop; NaN where its mask is below a half."""
    side = place.crop.shape[0]
    crop = cv2.warpAffine(image, place.frame_to_crop, (side, side), borderMode=cv2.BORDER_REPLICATE)
    cells, covered = (
        cv2.resize(part, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for part in (crop.astype(np.float64), face.mask)
    )
    return np.where(covered[..., None] >= 0.5, cells, np.nan).reshape(-1, 3)


def _part_of(made: Composition, face: Face | None) -> Part | None:
    """What was generated for a face of the record."""
    parts = zip(made.aligned, made.generated, strict=True)
    return next(((place, generated) for place, generated in parts if place.face is face), None)


def _note_colours(seen: Seen, made: Composition, result: Image, part: Part | None) -> None:
    absent = np.full((CELLS**2, 3), np.nan)
    seen.colours_before.append(absent if part is None else mean_colours(made.frame, *part))
    seen.colours_after.append(absent if part is None else mean_colours(result, *part))


def _note_figures(seen: Seen, made: Composition, result: Image, part: Part, before: Face, after: Face) -> None:
    place, face = part
    _, matte = get_layers(made.frame, [place], [face])
    weight = (matte / MATTE_FULL).astype(np.float32)
    finish = judge_finish(FacePair(made.frame, result, weight, landmarks_of(before), landmarks_of(after)))
    for name, value in {**asdict(finish), **asdict(compare_expressions(after, before))}.items():
        seen.figures[name].append(value)


def _sum_up(seen: Seen) -> ClipQuality:
    colours = (np.array(seen.colours_before), np.array(seen.colours_after))
    steady = judge(np.array(seen.before), np.array(seen.after))
    return ClipQuality(
        steady, jitter_ratio(*colours), {name: np.array(values) for name, values in seen.figures.items()}
    )


def lines_of_person(name: str, quality: ClipQuality) -> Iterator[str]:
    """What is printed about one person."""
    steady = quality.steadiness
    yield (
        f"{name}  jitter {steady.jitter:.3f}  flicker {quality.flicker:.3f}  shift {steady.shift_frames:+.3f}"
        f"  lag {steady.lag:+.4f}  missing {steady.missing}"
    )
    rows = [["", "frames", "mean", "median", "worst"]]
    for figure in FIGURES:
        values = quality.figures.get(figure.name, np.empty(0))
        values = values[np.isfinite(values)]
        if len(values):
            worst = max(values.tolist(), key=figure.badness)
            numbers = (float(values.mean()), float(np.median(values)), worst)
            rows.append([figure.title, str(len(values)), *(figure.text(number) for number in numbers)])
    yield plain_text(rows)
    yield plain_text(
        verdict_table(
            [Verdict(goal, goal.value(quality.figures.get(goal.figure, np.empty(0)))) for goal in FINISH_GOALS]
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure clips; return the exit code of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate.clip_quality", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument("--source", type=Path, default=SOURCE, help="photo of the face that is put in")
    parser.add_argument("--pack", choices=("builtin", "ghost"), default="builtin", help="what swaps (builtin)")
    parser.add_argument("--frames", type=positive_int, default=200, help="of each clip, from its start (200)")
    parser.add_argument(
        "--every", type=positive_int, default=10, help="frames from one that is judged to the next (10)"
    )
    args = parser.parse_args(argv)
    try:
        swapper, judging = load_swapper(args.pack)
        source = swapper.identify(read_picture(args.source).bgr, args.source.name)
        for video in args.videos:
            qualities = measure_clip(video, swapper, judging, source, args.frames, args.every)
            for number, quality in enumerate(qualities, start=1):
                print(*lines_of_person(f"{video.stem[:28]} person {number}", quality), sep="\n", flush=True)
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
