"""Expression, checked on the result: what the landmarker reads off a swapped face is compared with what it reads off the target.

Two persons' lids and lips are not drawn alike, so a face that has the target's landmarks on the source's skin may look as if it squinted
or winked. The difference hardly changes within a track: it is measured once, in a photo or in a frame of a video, and drawn less of.
"""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np

from utils.inference.answers import possible_faces
from utils.inference.image_processing import crop_face, detect_faces, get_final_image
from utils.inference.model_pack import ModelPack
from utils.inference.records import Face, Identity, Image, Openings, Treatment

CLOSED = 0.12  # opening of an eye below which nothing can be learnt from it
SMALLEST_PX = 64.0  # height of a face below which the landmarker's own error is larger than what is looked for
AROUND = 1.5  # sides of the face's box on each side of its middle that are looked at
ROUNDS = 2  # the first takes away most of the difference, the second what is left of it
LARGEST_STEP = 0.15  # of one round


def match_openings(
    frame: Image, face: Face, treatment: Treatment, pack: ModelPack, identity: Identity
) -> Openings | None:
    """By how much farther eyes and mouth must be drawn open, so that the result looks as far open as the target.

    Args:
        frame: (H, W, 3) BGR uint8.
        face: in it.
        treatment: how it is to be swapped; at full strength, whatever it says.
        pack: the loaded models.
        identity: who `face` is to become.

    Returns:
        Nothing at all where drawing otherwise made it worse; None if the frame cannot tell, as the face is not found again.
    """
    measure = pack.measure_openings
    if measure is None or face.landmarks is None:
        return None
    wanted = np.array(astuple(measure(face.landmarks)))
    added, error = np.zeros(3), np.inf
    for _ in range(ROUNDS):
        aligned = crop_face(frame, face, pack, replace(treatment, strength=1.0, openings=Openings(*added)))
        result = get_final_image(frame, [aligned], pack.generator.generate([aligned], [identity]))
        found = _find_again(result, face, pack)
        if found is None or found.landmarks is None:
            return None
        missing = wanted - astuple(measure(found.landmarks))
        if np.abs(missing).sum() > error:
            return Openings()
        error = np.abs(missing).sum()
        added += np.clip(missing, -LARGEST_STEP, LARGEST_STEP)
    return Openings(*added.tolist())


def is_fit(face: Face, treatment: Treatment, frame_size: tuple[int, int], pack: ModelPack) -> bool:
    """Whether anything can be learnt from a face: large enough, whole in a frame of (width, height), its eyes open, nothing in front."""
    if pack.measure_openings is None or face.landmarks is None or treatment.occluded is not None:
        return False
    openings = pack.measure_openings(face.landmarks)
    left, top, right, bottom = face.box
    whole = left >= 0 and top >= 0 and right < frame_size[0] and bottom < frame_size[1]
    return bool(whole and bottom - top >= SMALLEST_PX and min(openings.right, openings.left) > CLOSED)


def _find_again(image: Image, face: Face, pack: ModelPack) -> Face | None:
    """`face` as somebody sees it who does not know where it is in `image`; None if it is not found there."""
    centre = (face.box[:2] + face.box[2:]) / 2
    side = float((face.box[2:] - face.box[:2]).max())
    left, top = np.maximum(centre - AROUND * side, 0).astype(int).tolist()
    right, bottom = np.ceil(centre + AROUND * side).astype(int).tolist()
    origin, part = np.array([left, top]), np.ascontiguousarray(image[top:bottom, left:right])
    if part.size == 0 or pack.landmarker is None:
        return None

    def distance(found: Face) -> float:
        return float(np.linalg.norm(found.keypoints + origin - face.keypoints, axis=1).mean())

    near = min(detect_faces(part, pack, thorough=False).candidates, key=distance, default=None)
    if near is None or distance(near) > side / 2:
        return None
    again = pack.landmarker.locate(image, Face(near.box + np.tile(origin, 2), near.score, near.keypoints + origin))
    return again if again is not None and possible_faces([again], image) else None
