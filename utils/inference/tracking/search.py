"""Which faces are in the frames of a short stretch: searched for in its last frame, and followed from frame to frame before.

A search costs several times what following a face does, so there is one a stretch, one at a cut, and one where a face got lost. A face
that a search finds anew is followed back to the cut or to the beginning of the stretch, so that it is not missed between two searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from utils.inference.boxes import is_duplicate
from utils.inference.image_processing import Detection, confirm_faces, detect_faces, follow_faces
from utils.inference.model_pack import ModelPack
from utils.inference.records import Face, Image

STRETCH_FRAMES = 5  # held in memory together; what is seen for less may be missed
THOROUGH_EVERY_STRETCHES = 3  # the last frame of the others is searched for small faces only where one is missing


@dataclass(eq=False)
class Found:
    """The faces of a frame, best score first but for those that were followed back; and the best score of any candidate, 0 unsearched."""

    faces: list[Face]
    best_score: float = 0.0


@dataclass(frozen=True, eq=False)
class Stretch:
    """Neighbouring frames: their time stamps, their images, (H, W, 3) BGR uint8, and what the detector says of those it has seen."""

    pts: Sequence[int]
    images: Sequence[Image]
    detections: Sequence[Detection | None]


def searched_stretches(frames: Iterable[tuple[int, Image]], pack: ModelPack, first: int) -> Iterator[Stretch]:
    """Frames by stretches, the last frame of each searched; all of them if the pack has no landmarker, thus nothing to follow by.

    Args:
        frames: time stamps and images.
        pack: the loaded models.
        first: number of the first frame, a multiple of `STRETCH_FRAMES`.
    """
    waiting = iter(frames)
    for number in count(first // STRETCH_FRAMES + 1):
        pts_and_images = list(islice(waiting, STRETCH_FRAMES))
        if not pts_and_images:
            return
        pts, images = zip(*pts_and_images, strict=True)
        if pack.landmarker is None:
            detections: list[Detection | None] = [detect_faces(image, pack) for image in images]
        else:
            last = detect_faces(images[-1], pack, thorough=number % THOROUGH_EVERY_STRETCHES == 0)
            detections = [*[None] * (len(images) - 1), last]
        stretch = Stretch(pts, images, detections)
        del pts_and_images, images  # what takes the stretch alone decides how long it is held
        yield stretch
        del stretch


def find_in_stretch(stretch: Stretch, begins: Sequence[bool], pack: ModelPack, known: Sequence[Face]) -> list[Found]:
    """Find the faces of neighbouring frames.

    Args:
        stretch: of `searched_stretches`.
        begins: whether each is the first frame of a shot.
        pack: the loaded models.
        known: faces of the frame before.
    """
    images = stretch.images
    found: list[Found] = []
    begun = 0
    for place, (image, begin, detection) in enumerate(zip(images, begins, stretch.detections, strict=True)):
        if begin:
            known, begun = (), place
        followed = follow_faces(image, pack, known)
        here = Found(followed)
        if detection is not None or begin or len(followed) < len(known):
            here = _search(image, pack, followed, len(known), detection, begin)
            new = [face for face in here.faces if not is_duplicate(face, followed)]
            _follow_back(new, images[begun:place], found[begun:], pack)
        found.append(here)
        known = here.faces
    return found


def _search(
    image: Image, pack: ModelPack, followed: Sequence[Face], expected: int, detection: Detection | None, begin: bool
) -> Found:
    """Search a frame, thoroughly at the beginning of a shot, and when not all of the `expected` faces are found."""
    if detection is None or (begin and not detection.thorough):
        detection = detect_faces(image, pack, thorough=begin)
    faces, best_score = confirm_faces(image, pack, detection, followed)
    if not detection.thorough and len(faces) < max(expected, 1):
        faces, best_score = confirm_faces(image, pack, detect_faces(image, pack), faces)
    return Found(faces, best_score)


def _follow_back(faces: Sequence[Face], images: Sequence[Image], found: Sequence[Found], pack: ModelPack) -> None:
    """Add faces of the frame after `images` to those frames, what is `found` in them, as far back as they are there."""
    for image, earlier in zip(reversed(images), reversed(found), strict=True):
        faces = [face for face in follow_faces(image, pack, faces) if not is_duplicate(face, earlier.faces)]
        if not faces:
            return
        earlier.faces += faces
