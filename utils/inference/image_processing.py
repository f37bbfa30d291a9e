"""From one frame to its faces, from a face to its crop, and back from generated faces to a finished frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from utils.inference.answers import possible_faces
from utils.inference.blending import Patch, WarpedFace, blend_patch, warp_to_frame
from utils.inference.boxes import drop_duplicates, is_duplicate
from utils.inference.model_pack import ModelPack
from utils.inference.occlusion.visibility import refine_visible
from utils.inference.records import UNTREATED, AlignedFace, Face, GeneratedFace, Image, Treatment
from utils.inference.stopwatch import stage

Matte: TypeAlias = NDArray[np.uint16]
MATTE_FULL = 65_535


@dataclass(frozen=True, eq=False)
class Detection:
    """What the detector says of an image: `candidates`, best first, the best score of any, and whether small faces were searched for."""

    candidates: Sequence[Face]
    best_score: float
    thorough: bool


@stage("detect")
def detect_faces(image: Image, pack: ModelPack, thorough: bool = True) -> Detection:
    """Run the detector on (H, W, 3) BGR uint8; `thorough` finds small faces, too."""
    candidates, best_score = pack.detector.detect(image, thorough)
    return Detection(possible_faces(candidates, image), best_score, thorough)


def find_faces(image: Image, pack: ModelPack) -> tuple[list[Face], float]:
    """Detect the faces of an image, also small ones, and place their landmarks; see `confirm_faces`."""
    return confirm_faces(image, pack, detect_faces(image, pack))


def confirm_faces(
    image: Image, pack: ModelPack, detection: Detection, followed: Sequence[Face] = ()
) -> tuple[list[Face], float]:
    """Place the landmarks of detected faces.

    Args:
        image: (H, W, 3) BGR uint8.
        pack: the loaded models.
        detection: of this image.
        followed: faces that are known to be in this image, by `follow_faces`; the detector can only make them surer.

    Returns:
        The faces, best score first, each confirmed by the pack's landmarker if it has one; and the best detection score seen at all,
        for messages about images without a face.
    """
    candidates = detection.candidates
    if pack.landmarker is None:
        return list(candidates), detection.best_score
    new = [candidate for candidate in candidates if not is_duplicate(candidate, followed)]
    with stage("landmarks"):
        located = [pack.landmarker.locate(image, candidate) for candidate in new]
    confirmed = possible_faces([face for face in located if face is not None], image)
    surer = [_with_best_score(face, candidates) for face in followed]
    return drop_duplicates([*surer, *confirmed]), detection.best_score


def follow_faces(image: Image, pack: ModelPack, known: Sequence[Face]) -> list[Face]:
    """Those faces of a neighbouring frame that the pack's landmarker finds again, with their old scores; none if it has none."""
    if pack.landmarker is None:
        return []
    with stage("landmarks"):
        located = [pack.landmarker.locate(image, face) for face in known]
    return drop_duplicates(possible_faces([face for face in located if face is not None], image))


def _with_best_score(face: Face, candidates: Sequence[Face]) -> Face:
    """`face` with the best score of those candidates that are this face."""
    return replace(face, score=max([face.score, *(one.score for one in candidates if is_duplicate(one, [face]))]))


@stage("align")
def crop_face(frame: Image, face: Face, pack: ModelPack, treatment: Treatment = UNTREATED) -> AlignedFace:
    """Cut a face out of its frame as the pack's generator expects it, and find the edge of what is in front of it.

    Args:
        frame: (H, W, 3) BGR uint8.
        face: in it.
        pack: the loaded models.
        treatment: of the plan.
    """
    aligned = replace(pack.generator.align(frame, face), treatment=treatment)
    if treatment.occluded is None or pack.surface is None:
        return aligned
    coarse = pack.surface.place(treatment.occluded, face, aligned.frame_to_crop, aligned.crop.shape[0])
    return replace(aligned, visible=refine_visible(aligned.crop, coarse))


def get_final_image(frame: Image, aligned: Sequence[AlignedFace], generated: Sequence[GeneratedFace]) -> Image:
    """Put generated faces back into their frame, one after another, behind what is in front of them.

    Bit-identical to `frame` outside of the warped masks; the very frame if there are no faces. A face of a strength below 1 is mixed with
    the frame.
    """
    patch = get_final_patch(frame, aligned, generated)
    return frame if patch is None else patch.put_on(frame)


@stage("blend")
def get_final_patch(frame: Image, aligned: Sequence[AlignedFace], generated: Sequence[GeneratedFace]) -> Patch | None:
    """That of `get_final_image` which may differ from `frame`; None if there are no faces. Costs the same in frames of any size."""
    return blend_patch(frame, list(_warp_all(frame, aligned, generated)))


def _warp_all(frame: Image, aligned: Sequence[AlignedFace], generated: Sequence[GeneratedFace]) -> Iterator[WarpedFace]:
    """Every face where it belongs in its frame, cut by what is in front of it; without those that do not reach it."""
    height, width = frame.shape[:2]
    for place, face in zip(aligned, generated, strict=True):
        mask = face.mask if place.visible is None else face.mask * place.visible
        warped = warp_to_frame(face.image, mask, place.frame_to_crop, height, width, place.treatment.strength)
        if warped is not None:
            yield warped


def get_layers(frame: Image, aligned: Sequence[AlignedFace], generated: Sequence[GeneratedFace]) -> tuple[Image, Matte]:
    """The generated faces before they are blended, for compositing elsewhere: `frame` * (1 - matte) + faces * matte is the final image.

    Returns:
        The faces: (H, W, 3) BGR uint8, not multiplied by their masks, black where the matte is 0; and the matte: (H, W) uint16, 65535
        where the frame is wholly covered.
    """
    height, width = frame.shape[:2]
    faces, matte = np.zeros_like(frame), np.zeros((height, width), np.float32)
    for warped in _warp_all(frame, aligned, generated):
        below, covered = faces[warped.place], matte[warped.place]
        remains = covered * (1 - warped.weight)  # Porter and Duff, Compositing digital images, 1984: over
        total = warped.weight + remains
        share = np.divide(warped.weight, total, out=np.zeros_like(total), where=total > 0)[..., None]
        below[:] = np.rint(below + (warped.image - below.astype(np.float32)) * share)
        covered[:] = total
    steps = np.rint(matte * np.float32(MATTE_FULL)).astype(np.uint16)
    faces[steps == 0] = 0
    return faces, steps
