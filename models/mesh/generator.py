"""The mesh generator: steps of one swap in order, and the source side kept for as long as its identity lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import LANDMARK_COUNT
from models.mesh.canvas import FloatImage, Portrait, choose_size, cut_out, estimate_frame_to_canvas
from models.mesh.colour import from_tones, is_grey, to_lab
from models.mesh.detail import FEATURES, SKIN, emphasise, match_detail
from models.mesh.eyes import give_source_eyes, lay_in, warp_opening
from models.mesh.glasses import find_glasses
from models.mesh.glasses_pixels import draw_glasses
from models.mesh.masks import analyse, make_mask
from models.mesh.motion import match_motion
from models.mesh.render import Drawing, draw_mesh
from models.mesh.shape import blend_shape
from models.mesh.texture import SizedTexture, SourceTexture, prepare_texture
from models.mesh.tone import apply_tone, estimate_tone
from models.mesh.topology import OPENINGS, MeshTopology, build_topology
from models.mesh.views import order_views, share_views, turn_of
from utils.inference.alignment import scale_of, transform_points
from utils.inference.blending import blend_bands, weigh
from utils.inference.records import AlignedFace, Face, GeneratedFace, Identity, Image, Mask, MaskParameters, Points

SMALLEST_PX, LARGEST_PX = 256, 1024
COARSEST_PX = 32  # side of the coarsest picture that is blended
PASTE_STEEPNESS = 4.0
FAINTEST_MASK = 0.002
YAW_LIMITS_DEG = (40.0, 53.0)  # good up to 42, smeared from 47 on (looked at: news photos and clips of stages)


class MeshGenerator:
    """Warps the source's skin onto the target's mesh; needs no training, and a CPU is enough.

    Args:
        triangles: (852, 3) vertex indices of the face mesh.
    """

    max_batch = 1
    keeps_masks = False

    def __init__(self, triangles: NDArray[np.integer]) -> None:
        self._topology = build_topology(triangles)
        self._textures: WeakKeyDictionary[Identity, list[SourceTexture]] = WeakKeyDictionary()
        self._preparing = Lock()  # several threads may swap in the same source

    def align(self, frame: Image, face: Face) -> AlignedFace:
        """Cut out an upright canvas about as fine as the frame.

        Raises:
            ValueError: if `face` has no dense landmarks.
        """
        landmarks = _dense_landmarks(face)
        size = choose_size(landmarks, SMALLEST_PX, LARGEST_PX)
        frame_to_canvas = estimate_frame_to_canvas(landmarks, size)
        return AlignedFace(cut_out(frame, frame_to_canvas, size), frame_to_canvas, face)

    def choose_mask(self, face: AlignedFace, identity: Identity) -> MaskParameters | None:
        """See `Generator`; every mask follows from its own frame."""
        return None

    def generate(self, faces: Sequence[AlignedFace], identities: Sequence[Identity]) -> list[GeneratedFace]:
        """Give each of `faces` the identity at the same place in `identities`."""
        return [
            swap_face(face, self._textures_of(identity), self._topology)
            for face, identity in zip(faces, identities, strict=True)
        ]

    def _textures_of(self, identity: Identity) -> list[SourceTexture]:
        """Of the photos worth taking, the best first."""
        with self._preparing:
            textures = self._textures.get(identity)
            if textures is None:
                views = order_views(identity.views, self._topology)
                self._textures[identity] = textures = [prepare_texture(view, self._topology) for view in views]
            return textures


def _dense_landmarks(face: Face) -> Points:
    if face.landmarks is None or face.landmarks.shape != (LANDMARK_COUNT, 3):
        raise ValueError(f"the mesh generator needs ({LANDMARK_COUNT}, 3) landmarks for every face")
    return face.landmarks


def swap_face(aligned: AlignedFace, textures: Sequence[SourceTexture], topology: MeshTopology) -> GeneratedFace:
    """One swap, with the source's best texture first.

    The image already holds the blend with the target; the mask says where it differs from the frame.
    """
    best, size = textures[0], aligned.crop.shape[0]
    target = Portrait(aligned.crop, transform_points(aligned.frame_to_crop, _dense_landmarks(aligned.face)))
    bare = _without_glasses(target, aligned.treatment.glasses)
    visible = (
        bare if aligned.visible is None else aligned.visible if bare is None else np.minimum(bare, aligned.visible)
    )
    drawing = draw_mesh(
        blend_shape(target.points, best.photo.points_at(size), topology, aligned.treatment.openings), size, topology
    )
    shares = _choose_skins(textures, target.points, topology, size)
    *to_skins, to_target = drawing.shifts_to([*(skin.skin_points for skin, _ in shares), target.points])
    warped = _mix(
        [(drawing.warp(skin.skin, shift), share) for (skin, share), shift in zip(shares, to_skins, strict=True)]
    )
    seen = analyse(target, warped, drawing, visible)
    mask = make_mask(seen)
    area, points = drawing.area, drawing.points
    below = area.of(target.image)
    result = from_tones(apply_tone(warped, estimate_tone(seen, mask)))
    *eyes, mouth = (warp_opening(target.image, drawing, to_target, ring) for ring in OPENINGS)
    photo, grey = best.sized(size).photo, is_grey(to_lab(seen.target))
    for patch in (*give_source_eyes(eyes, points, photo, best.eyes_lit, best.eye_colours, grey), mouth):
        lay_in(result, patch, drawing.origin)
    motion = aligned.frame_to_crop[:, :2] @ np.array(aligned.treatment.motion)
    result = match_motion(result, below, drawing.covered() > 0.5, motion)
    zones = np.where(seen.bare_skin, SKIN, np.where(seen.features * seen.visible > 0.5, FEATURES, 0)).astype(np.uint8)
    pasted = emphasise(below.astype(np.float32))
    result = match_detail(emphasise(result), pasted, zones, scale_of(aligned.frame_to_crop))
    # Again: it has the target's motion and detail already.
    lay_in(result, replace(mouth, image=emphasise(mouth.image)), drawing.origin)
    joined = _join(result, pasted, target.image, mask, drawing, visible)
    return joined if bare is None else replace(joined, mask=joined.mask * bare)


def _without_glasses(target: Portrait, usual: float | None) -> Mask | None:
    """(S, S), 0 where glasses are in front of the target's face; None if it wears none. `usual`: see `find_glasses`."""
    glasses = find_glasses(target, usual)
    return None if glasses is None else 1 - draw_glasses(target, glasses)


def _choose_skins(
    textures: Sequence[SourceTexture], target: Points, topology: MeshTopology, size: int
) -> list[tuple[SizedTexture, float]]:
    """The photos that are turned most like `target`, one or two, and how much each counts."""
    if len(textures) == 1:
        return [(textures[0].sized(size), 1.0)]
    turns = [turn_of(texture.photo.points, topology) for texture in textures]
    return [(textures[index].sized(size), share) for index, share in share_views(turn_of(target, topology), turns)]


def _mix(pictures: Sequence[tuple[FloatImage, float]]) -> FloatImage:
    """The mean of one or two weighted pictures."""
    (first, share), *rest = pictures
    for other, part in rest:
        first = cv2.addWeighted(first, share, other, part, 0)
    return first


def _join(
    face: FloatImage, background: FloatImage, target: Image, mask: Mask, drawing: Drawing, visible: Mask | None
) -> GeneratedFace:
    """Join a face with the target.

    Args:
        face: of the drawing's area, BGR in 0..255.
        background: of the area, the target as it is to be pasted; it is overwritten.
        target: (S, S, 3), the whole canvas.
        mask: of the area in any resolution, its border as wide as the joint is to be.
        drawing: says what the face covers.
        visible: (S, S), 0 where something hides the target's face; its colours are kept out of the joint.
    """
    area, size = drawing.area, target.shape[0]
    change = weigh(face - background, drawing.covered())
    if visible is not None:
        shown = area.of(visible)
        background += weigh(change, 1 - shown)
        change = weigh(change, shown)
    mask = cv2.resize(mask, background.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    background += blend_bands(change, mask, round(np.log2(size / COARSEST_PX)))
    image, paste = target.copy(), np.zeros((size, size), np.float32)
    area.of(image)[:] = cv2.convertScaleAbs(np.maximum(background, 0, out=background))
    # The joint is made; what is pasted must be this picture wherever it differs from the frame.
    area.of(paste)[:] = np.where(mask > FAINTEST_MASK, np.minimum(mask * PASTE_STEEPNESS, 1), 0)
    return GeneratedFace(image, paste)
