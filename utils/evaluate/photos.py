"""Judge the swaps of a folder of photos: identity, expression, pose; a table, a contact sheet and a summary.

    python -m utils.evaluate FOLDER --out REPORT_FOLDER [--labels photos.json]

Photos are named PERSON_KIND.jpg. In sorted order, the first photo of a person is put onto the second photo of the next person and of the
fifth next. Distances are L2 between raw embeddings of the pack's own identity net; retrieval looks for the source's person among all
photos that are not anybody's first, the target's own photo included.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from coordinate_reg.mesh_points import CHEEKS, EYES, LIP_OPENING, MOUTH_LEFT, MOUTH_RIGHT
from models.mesh.shape import eye_opening
from models.packs import load_builtin_pack
from utils.errors import BadArgument, SwapError, UnreadableInput, UnwritableOutput
from utils.flag_types import positive_int
from utils.inference.alignment import warp_antialiased
from utils.inference.face_swapper import FaceSwapper
from utils.inference.image_processing import find_faces
from utils.inference.records import Face, Identity, Image, Points
from utils.inference.steadying.fading import yaw_of
from utils.pictures import read_picture

PHOTO_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
TARGET_STEPS = (1, 5)
CELL_PX = 224
SWAPS_IN_A_ROW, SWAPS_ON_A_SHEET = 2, 12


@dataclass(frozen=True)
class SwapScore:
    """One swap. Distances: L2 of embeddings; mouth and eyes: |result - target| of opening / width; yaw: |result - target| in degrees."""

    source: str
    target: str
    group: str
    to_source: float
    to_target: float
    to_other: float
    nearer_source: bool
    retrieved: bool
    mouth: float
    eyes: float
    yaw_deg: float


@dataclass(frozen=True, eq=False)
class Shown:
    """The three pictures of one swap, for the contact sheet."""

    score: SwapScore
    images: tuple[Image, Image, Image]


def mouth_opening(landmarks: Points) -> float:
    """Distance of the lips over the width of the mouth."""
    upper, lower = landmarks[list(LIP_OPENING), :2]
    right, left = landmarks[[MOUTH_RIGHT, MOUTH_LEFT], :2]
    return float(np.linalg.norm(upper - lower)) / max(float(np.linalg.norm(right - left)), 1e-6)


def landmarks_of(face: Face) -> Points:
    """The dense landmarks.

    Raises:
        ValueError: if the pack gives none.
    """
    if face.landmarks is None:
        raise ValueError("the evaluation needs a pack with dense landmarks")
    return face.landmarks


def photos_of_persons(folder: Path) -> dict[str, list[Path]]:
    """Person -> sorted photos, for persons with at least two.

    Raises:
        BadArgument: if there are not enough of them to make pairs.
    """
    persons: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("*_*")):
        if path.suffix.lower() in PHOTO_EXTENSIONS:
            persons[path.stem.rpartition("_")[0]].append(path)
    usable = {person: photos for person, photos in sorted(persons.items()) if len(photos) > 1}
    if len(usable) <= max(TARGET_STEPS):
        raise BadArgument(
            f"'{folder}' has {len(usable)} persons with two photos named PERSON_KIND.jpg; at least {max(TARGET_STEPS) + 1} are needed"
        )
    return usable


def groups_of_photos(labels: Path | None) -> dict[str, str]:
    """File name -> group, from a JSON list of records with `file` and `group`."""
    if labels is None:
        return {}
    if not labels.is_file():
        raise UnreadableInput(f"the labels {str(labels)!r} are not there; check the path")
    return {
        Path(entry["file"]).name: entry.get("group") or "" for entry in json.loads(labels.read_text(encoding="utf-8"))
    }


def evaluate_folder(
    folder: Path, swapper: FaceSwapper, groups: dict[str, str], limit: int | None = None
) -> list[Shown]:
    """Make all swaps of a folder and score them."""
    persons = photos_of_persons(folder)
    names = list(persons)
    images = {path: read_picture(path).bgr for photos in persons.values() for path in photos}
    identities = {path: swapper.identify(image, path.name) for path, image in images.items()}
    gallery = [(person, identities[path].embedding) for person in names for path in persons[person][1:]]
    pairs = [(number, (number + step) % len(names)) for number in range(len(names)) for step in TARGET_STEPS]
    shown = []
    for number, other in tqdm(pairs[:limit], desc=folder.name, unit="swap", disable=None):
        source, target = persons[names[number]][0], persons[names[other]][1]
        result, _ = swapper.swap_image(images[target], [identities[source]], [identities[target]], target.name)
        score = score_swap(swapper, result, identities[source], identities[target], names[number], gallery)
        labelled = SwapScore(source.name, target.name, groups.get(target.name, ""), *score)
        crops = (images[source], images[target], result)
        faces = (identities[source], identities[target], identities[target])
        cells = tuple(portrait(image, identity.views[0].face) for image, identity in zip(crops, faces, strict=True))
        shown.append(Shown(labelled, (cells[0], cells[1], cells[2])))
    return shown


def score_swap(
    swapper: FaceSwapper,
    result: Image,
    source: Identity,
    target: Identity,
    person: str,
    gallery: Sequence[tuple[str, np.ndarray]],
) -> tuple[float, float, float, bool, bool, float, float, float]:
    """The figures of `SwapScore` behind its three names."""
    target_face = target.views[0].face
    faces, _ = find_faces(result, swapper.pack)
    if not faces:  # a swap that destroys the face is the worst there is
        return (np.inf, 0.0, np.inf, False, False, np.inf, np.inf, np.inf)
    face = min(faces, key=lambda face: float(np.linalg.norm(face.keypoints - target_face.keypoints)))
    embedding = swapper.pack.embedder.embed(result, face)
    distances = np.array([np.linalg.norm(embedding - other) for _, other in gallery])
    to_source = float(np.linalg.norm(embedding - source.embedding))
    to_target = float(np.linalg.norm(embedding - target.embedding))
    to_other = float(min(distance for distance, (name, _) in zip(distances, gallery, strict=True) if name == person))
    now, before = landmarks_of(face), landmarks_of(target_face)
    turn = abs(yaw_of(face, CHEEKS) - yaw_of(target_face, CHEEKS))
    mouth = abs(mouth_opening(now) - mouth_opening(before))
    eyes = statistics.fmean(abs(eye_opening(now, eye) - eye_opening(before, eye)) for eye in EYES)
    retrieved = gallery[int(distances.argmin())][0] == person
    return (
        to_source,
        to_target,
        to_other,
        to_source < to_target,
        retrieved,
        mouth,
        eyes,
        turn,
    )


def portrait(image: Image, face: Face) -> Image:
    """(CELL_PX, CELL_PX, 3) around a face."""
    left, top, right, bottom = face.box
    scale = CELL_PX / (1.7 * max(right - left, bottom - top))
    centre = np.array([(left + right) / 2, (top + bottom) / 2 - 0.08 * (bottom - top)])
    frame_to_cell = np.array([[scale, 0, CELL_PX / 2 - scale * centre[0]], [0, scale, CELL_PX / 2 - scale * centre[1]]])
    return warp_antialiased(image, frame_to_cell, (CELL_PX, CELL_PX), cv2.BORDER_REPLICATE)


def contact_sheets(shown: Sequence[Shown]) -> Iterable[Image]:
    """Sheets of source | target | result, worst identity first."""
    ranked = sorted(shown, key=lambda swap: -swap.score.to_source)
    for first in range(0, len(ranked), SWAPS_ON_A_SHEET):
        cells = [np.hstack(swap.images) for swap in ranked[first : first + SWAPS_ON_A_SHEET]]
        for cell, swap in zip(cells, ranked[first:], strict=False):
            text = f"{swap.score.source} > {swap.score.target}  {swap.score.to_source:.2f}/{swap.score.to_target:.2f}"
            cv2.putText(cell, text, (4, CELL_PX - 6), cv2.FONT_HERSHEY_PLAIN, 0.9, (0, 255, 255), 1, cv2.LINE_AA)
        cells += [np.zeros_like(cells[0])] * (-len(cells) % SWAPS_IN_A_ROW)
        rows = [np.hstack(cells[number : number + SWAPS_IN_A_ROW]) for number in range(0, len(cells), SWAPS_IN_A_ROW)]
        yield np.vstack(rows)


def summary_line(name: str, scores: Sequence[SwapScore]) -> str:
    """One line of means over some swaps."""
    count = len(scores)

    def mean(attribute: str) -> float:
        return statistics.fmean(float(getattr(score, attribute)) for score in scores)

    nearer, retrieved = sum(score.nearer_source for score in scores), sum(score.retrieved for score in scores)
    return (
        f"{name:<22} {count:>4} swaps  to source {mean('to_source'):.3f}  to target {mean('to_target'):.3f}"
        f"  other photo {mean('to_other'):.3f}  nearer source {nearer}/{count}  retrieved {retrieved}/{count}"
        f"  mouth {mean('mouth'):.4f}  eyes {mean('eyes'):.4f}  yaw {mean('yaw_deg'):.2f}"
    )


def write_report(out: Path, name: str, shown: Sequence[Shown]) -> None:
    """NAME.csv and NAME_1.png, NAME_2.png, ... in `out`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(f"cannot make the folder {str(out)!r} ({error.strerror}); choose another") from error
    with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [field.name for field in fields(SwapScore)]
        writer.writerow(columns)
        for swap in shown:
            writer.writerow([getattr(swap.score, column) for column in columns])
    for number, sheet in enumerate(contact_sheets(shown), start=1):
        cv2.imwrite(str(out / f"{name}_{number}.png"), sheet)


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate one or more folders; return the exit code of the command line."""
    parser = argparse.ArgumentParser(prog="python -m utils.evaluate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables and contact sheets")
    parser.add_argument(
        "--labels", type=Path, help="JSON list of {file, group}: adds a line for each group of target photos"
    )
    parser.add_argument("--limit", type=positive_int, help="only the first swaps of each folder")
    args = parser.parse_args(argv)
    try:
        swapper = FaceSwapper(load_builtin_pack())
        groups = groups_of_photos(args.labels)
        for folder in args.folders:
            shown = evaluate_folder(folder, swapper, groups, args.limit)
            write_report(args.out, folder.resolve().name, shown)
            scores = [swap.score for swap in shown]
            print(summary_line(folder.name, scores))
            for group in sorted({score.group for score in scores} - {""}):
                print(summary_line(f"  {group}", [score for score in scores if score.group == group]))
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
