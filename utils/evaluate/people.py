"""Judge who is swapped in clips with several people, against labels made by looking: a table, and sheets to look at.

    python -m utils.evaluate.people VIDEO_FOLDER [--truth tests/truth] [--clips 06 07] [--out SHEETS]

Every person of a clip is chosen alone, and every two of them together, by a photo cut out of the clip; then everybody is asked for. The
records that frames would be rendered from are judged, not the pixels. Of clips without labelled persons only the cuts are judged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from tqdm import tqdm

from models.packs import load_builtin_pack
from utils.errors import SwapError, UnreadableInput
from utils.evaluate.clips import analyse_clip, plan_clip
from utils.evaluate.people_scores import Choice, CutScore, PeopleScore, score_cuts, score_people
from utils.evaluate.people_sheets import sheet_of, write_sheet
from utils.evaluate.truth import ClipTruth, read_truth
from utils.inference.face_swapper import FaceSwapper
from utils.inference.records import Identity, Image, Points
from utils.inference.request import SwapRequest
from utils.inference.video_processing import get_target, read_video
from utils.pictures import read_picture

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "images" / "grace_hopper.jpg"
MARGIN = 0.5  # around the face of a portrait, in its longer side
HEADER = (
    f"{'clip':<28} {'chosen':<12} {'swapped':>9} {'share':>6} {'wrong':>6} {'exchanged':>10} {'between':>8} {'crowd':>6} "
    f"{'nowhere':>8} {'leftover':>9}  verdict"
)


def clips_of_folder(folder: Path, truth_folder: Path, wanted: Sequence[str] = ()) -> list[tuple[Path, ClipTruth]]:
    """The labelled clips of a folder, by name; only those whose name begins with one of `wanted`, if any are.

    Raises:
        UnreadableInput: if a clip that was asked for is not there, or none is.
    """
    truths = [read_truth(path) for path in sorted(truth_folder.glob("*.json"))]
    paths = {path.stem: path for path in sorted(folder.glob("*")) if path.is_file()}
    chosen = [(paths[truth.name], truth) for truth in truths if truth.name in paths]
    for start in wanted:
        if not any(truth.name.startswith(start) for _, truth in chosen):
            raise UnreadableInput(
                f"no labelled clip in {str(folder)!r} begins with {start!r}; check --clips and --truth"
            )
    if not chosen:
        raise UnreadableInput(f"{str(folder)!r} has no clip with labels in {str(truth_folder)!r}; check both paths")
    return [pair for pair in chosen if not wanted or pair[1].name.startswith(tuple(wanted))]


def portraits_of_clip(path: Path, truth: ClipTruth) -> dict[str, Image]:
    """Person -> photo cut out of the clip, for everybody who can be chosen."""
    places = {person: truth.portrait_of(person) for person in truth.choosable}
    portraits: dict[str, Image] = {}
    for frame, (_, image) in enumerate(get_target(read_video(path))):
        for person, (wanted, face) in places.items():
            if frame == wanted:
                portraits[person] = cut_out(image, face.box)
    return {person: portraits[person] for person in places}


def cut_out(image: Image, box: Points) -> Image:
    """The part of an image around a box (4,), with `MARGIN` on every side as far as the image goes."""
    margin = MARGIN * float(max(box[2:] - box[:2]))
    left, top = np.maximum(box[:2] - margin, 0).astype(int)
    right, bottom = (box[2:] + margin).astype(int)
    return np.ascontiguousarray(image[top:bottom, left:right])


def choices_of(truth: ClipTruth) -> list[Choice]:
    """Everybody alone, every two, all with one source, and all with a source each where no crowd takes sources, too."""
    persons = truth.choosable
    choices = [Choice(pair) for count in (1, 2) for pair in combinations(persons, count)]
    if len(persons) > 1:
        choices.append(Choice((), everybody=True))
        if not truth.ignored:
            choices.append(Choice(tuple(truth.persons), everybody=True))
    return choices


def evaluate_clip(
    path: Path, truth: ClipTruth, swapper: FaceSwapper, source: Identity, out: Path | None
) -> tuple[list[PeopleScore], CutScore]:
    """Analyse a clip, plan all choices, judge the records, and write the sheets.

    Raises:
        UnreadableInput: if the labels are those of another clip.
        NoFaceFound: if a portrait is not good enough to choose a person by.
    """
    analysis, seen = analyse_clip(get_target(read_video(path)), swapper)
    if len(seen) != truth.frames:
        raise UnreadableInput(f"{str(path)!r} has {len(seen)} frames, its labels {truth.frames}; use the labelled clip")
    portraits = portraits_of_clip(path, truth)
    identities = {
        person: swapper.identify(photo, f"{truth.name}, person {person}") for person, photo in portraits.items()
    }
    if out is not None:
        for person, photo in portraits.items():
            write_sheet(out / f"{truth.name}_{person}_portrait.png", photo)
    scores = []
    for choice in choices_of(truth):
        persons = [] if choice.everybody else [identities[person] for person in choice.persons]
        request = SwapRequest([source] * max(len(choice.persons), 1), persons, choice.everybody, truth.name)
        records = plan_clip(analysis, seen, request, swapper, (truth.width, truth.height))
        scores.append(score_people(records, truth, choice))
        if out is not None:
            sheet = sheet_of((image for _, image in get_target(read_video(path))), truth, records, choice)
            write_sheet(out / f"{truth.name}_{choice.name.replace(' ', '')}.png", sheet)
    return scores, score_cuts(seen, truth)


def row_of(score: PeopleScore) -> str:
    """One line of the table."""
    return (
        f"{score.clip:<28} {score.choice.name:<12} {f'{score.swapped}/{score.swappable}':>9} {score.share:>6.1%} "
        f"{score.wrong:>6} {score.exchanged:>10} {score.between:>8} {score.crowd:>6} {score.nowhere:>8} {score.leftover:>9}  "
        f"{verdict_of(score.good)}"
    )


def cuts_row_of(score: CutScore) -> str:
    """One line about a clip's cuts."""
    parts = ("labelled", score.labelled), ("missed", score.missed), ("invented", score.invented)
    counted = "  ".join(f"{name} {', '.join(map(str, cuts)) or 'none'}" for name, cuts in parts)
    return f"{score.clip:<28} {'cuts':<12} {counted}  {verdict_of(score.good)}"


def verdict_of(good: bool) -> str:
    """The last word of a line."""
    return "good" if good else "NOT GOOD"


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the clips of a folder; return the exit code of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate.people", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="VIDEO_FOLDER")
    parser.add_argument(
        "--truth", type=Path, default=ROOT / "tests" / "truth", help="folder of labels, CLIP.json for each clip"
    )
    parser.add_argument("--clips", nargs="+", default=(), metavar="NAME", help="only clips whose name begins so")
    parser.add_argument("--out", type=Path, help="folder for portraits and sheets of the labelled frames")
    args = parser.parse_args(argv)
    try:
        clips = clips_of_folder(args.folder, args.truth, args.clips)
        swapper = FaceSwapper(load_builtin_pack())
        source = swapper.identify(read_picture(SOURCE).bgr, SOURCE.name)
        print(HEADER)
        for path, truth in tqdm(clips, desc="people", unit="clip", disable=None):
            scores, cuts = evaluate_clip(path, truth, swapper, source, args.out)
            print(*map(row_of, scores), cuts_row_of(cuts), sep="\n", flush=True)
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
