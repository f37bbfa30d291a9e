"""Judge what stays in front of a swapped face: figures for clips and photos, and contact sheets.

    python -m utils.evaluate.occlusion VIDEO_FOLDER [--photos FOLDER ...] [--labels photos.json] [--clips 01 08] [--out REPORT_FOLDER]

Everything is rendered in memory with the embedded pack, so no codec blurs the figures. The swap's own area is where its mask, made as if
nothing were in front, is above a half.

- NAME.mp4 with a NAME.mask.mp4, which is white where an occluder is: of the occluder's pixels in that area, how many differ from the
  frame by at most UNTOUCHED grey levels; of the other pixels in it, how many were wrongly left to the frame (mask below a half).
- Any other clip: for every track, the share of that area that is swapped, over all its frames, and in its worst one. Where nothing is in
  front it should be 1.
- Photos, by group: the same share, each photo shown for ANIMATED_FRAMES frames with sensor noise, in small motion, and in a light that
  goes round and changes in strength and colour.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from models.packs import load_builtin_pack
from utils.errors import SwapError, UnreadableInput
from utils.evaluate.clips import analyse_clip, plan_clip
from utils.evaluate.pairs import PHOTO_EXTENSIONS, Label, read_labels
from utils.evaluate.sheets import make_folder, portrait, sheets
from utils.inference.alignment import invert, warp_antialiased
from utils.inference.blending import paste_back
from utils.inference.face_swapper import FaceSwapper
from utils.inference.frame_records import RecordedFace
from utils.inference.image_processing import crop_face
from utils.inference.model_pack import ModelPack
from utils.inference.records import Face, Identity, Image, Mask
from utils.inference.request import SwapRequest
from utils.inference.video_processing import get_target, read_video
from utils.pictures import read_picture

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "images" / "grace_hopper.jpg"
MASK_SUFFIX = ".mask"
UNTOUCHED = 2  # grey levels
ANIMATED_FRAMES = 24
ANIMATED_PX, ANIMATED_FACE_PX = 320, 160
NOISE_LEVELS = 2.5
FEWEST_FACES = 8  # of a track that gets a line of its own
MOST_SHOWN, SHOWN_IN_A_ROW = 24, 2


@dataclass(frozen=True, eq=False)
class Rendered:
    """One face of one frame: the result with and without what is in front, and the weight of the swap in frame pixels, (H, W)."""

    frame: Image
    plain: Image
    result: Image
    plain_weight: Mask
    weight: Mask

    @property
    def share(self) -> float:
        """Of the swap's own area that is swapped."""
        area = self.plain_weight > 0.5
        return float(self.weight[area].sum() / max(float(self.plain_weight[area].sum()), 1e-6))


@dataclass
class Judged:
    """What was seen of a clip: shares of the swap's area by track, counts of pixels against the truth, and pictures."""

    shares: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    occluder_px: int = 0
    untouched_px: int = 0
    clean_px: int = 0
    left_px: int = 0
    shown: list[Image] = field(default_factory=list)


def render(frame: Image, recorded: RecordedFace, pack: ModelPack, source: Identity) -> Rendered:
    """Swap one face with and without what is in front of it."""
    results = []
    for treated in (recorded.treated(occluded=None), recorded):
        place = crop_face(frame, treated.face, pack, treated.treatment)
        (generated,) = pack.generator.generate([place], [source])
        mask = generated.mask if place.visible is None else generated.mask * place.visible
        weight = cv2.warpAffine(mask, invert(place.frame_to_crop), frame.shape[1::-1], flags=cv2.INTER_LINEAR)
        results.append((paste_back(frame, generated.image, mask, place.frame_to_crop), weight))
    (plain, plain_weight), (result, weight) = results
    return Rendered(frame, plain, result, plain_weight, weight)


def judge_clip(path: Path, swapper: FaceSwapper, source: Identity) -> Judged:
    """Measure one clip.

    Raises:
        UnreadableInput: if the clip or its truth cannot be decoded.
    """
    video = read_video(path)
    truth_path = path.with_name(path.stem + MASK_SUFFIX + path.suffix)
    truth = get_target(read_video(truth_path)) if truth_path.is_file() else None
    request = SwapRequest([source], (), truth is None, path.name)
    analysis, seen = analyse_clip(get_target(video), swapper)
    records = plan_clip(analysis, seen, request, swapper, (video.width, video.height))
    judged = Judged()
    for (_, frame), record in zip(get_target(video), records, strict=True):
        occluder = None if truth is None else next(truth)[1][..., 1] > 127
        for _, recorded in record.swaps:
            if recorded.treatment.occluded is None and occluder is None:
                judged.shares[recorded.track].append(1.0)
                continue
            rendered = render(frame, recorded, swapper.pack, source)
            judged.shares[recorded.track].append(rendered.share)
            if occluder is not None:
                _count(judged, rendered, occluder)
            if recorded.treatment.occluded is not None:
                judged.shown.append(_show(rendered, recorded, f"{record.index}:{recorded.track}"))
    return judged


def _count(judged: Judged, rendered: Rendered, occluder: np.ndarray) -> None:
    """Compare with the truth."""
    area = rendered.plain_weight > 0.5
    change = cv2.absdiff(rendered.result, rendered.frame).max(-1)
    judged.occluder_px += int((area & occluder).sum())
    judged.untouched_px += int((area & occluder & (change <= UNTOUCHED)).sum())
    judged.clean_px += int((area & ~occluder).sum())
    judged.left_px += int((area & ~occluder & (rendered.weight < 0.5)).sum())


def _show(rendered: Rendered, recorded: RecordedFace, text: str) -> Image:
    """A row of four pictures: frame, swap without and with what is in front, weight."""
    weight = cv2.cvtColor((rendered.weight * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    pictures = (rendered.frame, rendered.plain, rendered.result, weight)
    cell = np.hstack([portrait(picture, recorded.face) for picture in pictures])
    return cv2.putText(cell, text, (4, 14), cv2.FONT_HERSHEY_PLAIN, 0.9, (0, 255, 255), 1, cv2.LINE_AA)


def lines_of_clip(name: str, judged: Judged) -> Iterator[str]:
    """What is printed about a clip."""
    if judged.occluder_px:
        yield (
            f"{name}: occluder untouched {judged.untouched_px / judged.occluder_px:.1%},"
            f" clean face wrongly left {judged.left_px / judged.clean_px:.1%}"
        )
        return
    for track, shares in sorted(judged.shares.items()):
        if len(shares) >= FEWEST_FACES:
            covered = sum(share < 1 for share in shares)
            yield (
                f"{name}: track {track:>2} {len(shares):>4} faces  visible share {statistics.fmean(shares):.4f}"
                f"  least {min(shares):.3f}  frames with something in front {covered}"
            )


def animate(picture: Image, face: Face) -> Iterator[tuple[int, Image]]:
    """ANIMATED_FRAMES frames of a photo, the same at every call: (number, (ANIMATED_PX, ANIMATED_PX, 3) BGR uint8)."""
    random = np.random.default_rng(0)
    middle = (face.box[:2] + face.box[2:]) / 2
    scale = ANIMATED_FACE_PX / float((face.box[2:] - face.box[:2]).max())
    y, x = np.mgrid[0:ANIMATED_PX, 0:ANIMATED_PX] / ANIMATED_PX - 0.5
    for number in range(ANIMATED_FRAMES):
        phase = 2 * np.pi * number / ANIMATED_FRAMES
        frame_to_cell = cv2.getRotationMatrix2D(middle.tolist(), 8 * np.sin(phase), scale * (1 + 0.1 * np.cos(phase)))
        frame_to_cell[:, 2] += ANIMATED_PX / 2 - middle
        cell = warp_antialiased(picture, frame_to_cell, (ANIMATED_PX, ANIMATED_PX), cv2.BORDER_REPLICATE)
        lamp = 1 + 0.12 * np.sin(2 * phase) + 0.4 * (x * np.cos(phase) + y * np.sin(phase))
        tint = 1 + 0.04 * np.sin(phase + np.array([0, 2, 4]))
        lit = cell * lamp[..., None] * tint + random.normal(0, NOISE_LEVELS, cell.shape)
        yield number, np.clip(lit, 0, 255).astype(np.uint8)


def judge_photos(
    folder: Path, swapper: FaceSwapper, source: Identity, labels: Mapping[str, Label]
) -> dict[str, list[float]]:
    """Group -> share of the swap's area that is swapped, in each frame of each photo."""
    shares = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PHOTO_EXTENSIONS:
            continue
        picture = read_picture(path).bgr
        face = swapper.identify(picture, path.name).views[0].face
        request = SwapRequest([source], (), False, path.name)
        frames = list(animate(picture, face))
        records = plan_clip(*analyse_clip(frames, swapper), request, swapper, picture.shape[1::-1])
        for (_, frame), record in zip(frames, records, strict=True):
            for _, recorded in record.swaps:
                whole = recorded.treatment.occluded is None
                share = 1.0 if whole else render(frame, recorded, swapper.pack, source).share
                shares[labels.get(path.name, Label()).group].append(share)
    return shares


def write_sheet(out: Path, name: str, shown: Sequence[Image]) -> None:
    """NAME.png in `out`: some of the frames with something in front, spread over the clip."""
    cells = [shown[number] for number in np.unique(np.linspace(0, len(shown) - 1, MOST_SHOWN).round().astype(int))]
    (sheet,) = sheets(cells, SHOWN_IN_A_ROW, MOST_SHOWN)
    cv2.imwrite(str(make_folder(out) / f"{name}.png"), sheet)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit code of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate.occlusion", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("videos", type=Path, metavar="VIDEO_FOLDER")
    parser.add_argument("--clips", nargs="+", default=[""], metavar="PREFIX", help="only clips whose names begin so")
    parser.add_argument("--photos", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--labels", type=Path, help="JSON list of {file, group}: groups the photos")
    parser.add_argument("--source", type=Path, default=SOURCE, help="photo of the face that is put in")
    parser.add_argument("--out", type=Path, help="folder for contact sheets")
    args = parser.parse_args(argv)
    try:
        swapper = FaceSwapper(load_builtin_pack())
        source = swapper.identify(read_picture(args.source).bgr, args.source.name)
        clips = [path for path in sorted(args.videos.glob("*.mp4")) if not path.stem.endswith(MASK_SUFFIX)]
        if not clips:
            raise UnreadableInput(f"the folder {str(args.videos)!r} has no .mp4; check the path")
        for clip in clips:
            if not clip.name.startswith(tuple(args.clips)):
                continue
            judged = judge_clip(clip, swapper, source)
            print(*lines_of_clip(clip.stem, judged), sep="\n", flush=True)
            if args.out and judged.shown:
                write_sheet(args.out, clip.stem, judged.shown)
        labels = read_labels(args.labels)
        for folder in args.photos:
            for group, shares in sorted(judge_photos(folder, swapper, source, labels).items()):
                mean, least = statistics.fmean(shares), min(shares)
                name = f"{folder.name} {group or 'all'}"
                print(f"{name}: {len(shares)} faces  visible share {mean:.4f}  least {least:.3f}", flush=True)
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
