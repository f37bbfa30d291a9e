"""Which faces are in the frames of a short stretch: searched for in its last frame, and followed from frame to frame before.

A search costs several times what following a face does, so there is one a stretch, one at a cut, and one where a face got lost. A face
that a search finds anew is followed back to the cut or to the beginning of the stretch, so that it is not missed between two searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from utils.inference.boxes import is_duplicate
from utils.inference.image_processing import find_faces, follow_faces
from utils.inference.records import Face, Image, ModelPack

STRETCH_FRAMES = 5  # held in memory together; what is seen for less may be missed
THOROUGH_EVERY_STRETCHES = 3  # the last frame of the others is searched for small faces only where one is missing


@dataclass(eq=False)
class Found:
    """The faces of a frame, best score first but for those that were followed back; and the best score of any candidate, 0 unsearched."""

    faces: list[Face]
    best_score: float = 0.0


def find_in_stretch(
    images: Sequence[Image], begins: Sequence[bool], pack: ModelPack, known: Sequence[Face], thorough: bool
) -> list[Found]:
    """Find the faces of neighbouring frames.

    Args:
        images: (H, W, 3) BGR uint8 each.
        begins: whether each is the first frame of a shot.
        pack: the loaded models; without a landmarker there is nothing to follow by, and every frame is searched.
        known: faces of the frame before.
        thorough: whether the last frame is searched for small faces in any case.
    """
    found: list[Found] = []
    begun = 0
    for place, (image, begin) in enumerate(zip(images, begins, strict=True)):
        if begin:
            known, begun = (), place
        followed = follow_faces(image, pack, known)
        here = Found(followed)
        last = place == len(images) - 1
        if pack.landmarker is None:
            here = Found(*find_faces(image, pack))
        elif begin or last or len(followed) < len(known):
            here = _search(image, pack, followed, len(known), begin or (last and thorough))
            new = [face for face in here.faces if not is_duplicate(face, followed)]
            _follow_back(new, images[begun:place], found[begun:], pack)
        found.append(here)
        known = here.faces
    return found


def _search(image: Image, pack: ModelPack, followed: Sequence[Face], expected: int, thorough: bool) -> Found:
    """Search a frame, thoroughly only when asked or when not all of the `expected` faces are found."""
    faces, best_score = find_faces(image, pack, followed, thorough)
    if not thorough and len(faces) < max(expected, 1):
        faces, best_score = find_faces(image, pack, faces, thorough=True)
    return Found(faces, best_score)


def _follow_back(faces: Sequence[Face], images: Sequence[Image], found: Sequence[Found], pack: ModelPack) -> None:
    """Add faces of the frame after `images` to those frames, what is `found` in them, as far back as they are there."""
    for image, earlier in zip(reversed(images), reversed(found), strict=True):
        faces = [face for face in follow_faces(image, pack, faces) if not is_duplicate(face, earlier.faces)]
        if not faces:
            return
        earlier.faces += faces
