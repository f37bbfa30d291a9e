"""From one frame to its faces, from a face to its crop, and back from generated faces to a finished frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from utils.inference.appearance import Texels
from utils.inference.blending import paste_back
from utils.inference.boxes import drop_duplicates
from utils.inference.records import AlignedFace, Face, GeneratedFace, Image, MaskParameters, ModelPack
from utils.inference.visibility import refine_visible


def find_faces(
    image: Image, pack: ModelPack, known: Sequence[Face] = (), thorough: bool = True
) -> tuple[list[Face], float]:
    """Detect the faces of an image and place their landmarks.

    Args:
        image: (H, W, 3) BGR uint8.
        pack: the loaded models.
        known: faces of the frame before; the landmarker looks for them in their old places, if the pack has one.
        thorough: whether small faces are searched for, too.

    Returns:
        The faces, best score first, each confirmed by the pack's landmarker if it has one; and the best detection score seen at all,
        for messages about images without a face.
    """
    candidates, best_score = pack.detector.detect(image, thorough)
    if pack.landmarker is None:
        return candidates, best_score
    located = [pack.landmarker.locate(image, candidate) for candidate in drop_duplicates([*candidates, *known])]
    return drop_duplicates([face for face in located if face is not None]), best_score


def crop_face(
    frame: Image, face: Face, pack: ModelPack, seed: int, mask_parameters: MaskParameters | None = None
) -> AlignedFace:
    """Cut a face out of its frame as the pack's generator expects it; `seed` is the number of the frame."""
    return replace(pack.generator.align(frame, face, seed), mask_parameters=mask_parameters)


def keep_in_front(aligned: AlignedFace, occluded: Texels | None, pack: ModelPack) -> AlignedFace:
    """The same face with what is in front of it: `occluded` of the pack's surface, its edge found in the crop."""
    if occluded is None or pack.surface is None:
        return aligned
    coarse = pack.surface.place(occluded, aligned.face, aligned.frame_to_crop, aligned.crop.shape[0])
    return replace(aligned, visible=refine_visible(aligned.crop, coarse))


def get_final_image(frame: Image, aligned: Sequence[AlignedFace], generated: Sequence[GeneratedFace]) -> Image:
    """Put generated faces back into their frame, one after another, behind what is in front of them.

    Bit-identical to `frame` outside of the warped masks.
    """
    result = frame
    for place, face in zip(aligned, generated, strict=True):
        mask = face.mask if place.visible is None else face.mask * place.visible
        result = paste_back(result, face.image, mask, place.frame_to_crop)
    return result
