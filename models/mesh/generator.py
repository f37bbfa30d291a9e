"""The mesh generator: steps of one swap in order, and the source side kept for as long as its identity lives."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LANDMARK_COUNT, LIPS_INNER
from models.mesh.canvas import (
    Area,
    FloatImage,
    Portrait,
    choose_area,
    choose_size,
    cut_out,
    estimate_frame_to_canvas,
)
from models.mesh.colour import from_lab, is_grey, to_lab
from models.mesh.detail import FEATURES, SKIN, emphasise, match_detail
from models.mesh.eyes import give_source_eyes, lay_in, warp_opening
from models.mesh.masks import analyse, make_mask
from models.mesh.motion import match_motion
from models.mesh.raster import SUBPIXEL_BITS, IdMap, draw_triangle_ids, fixed_point
from models.mesh.render import render_source
from models.mesh.shape import blend_shape
from models.mesh.texture import SourceTexture, prepare_texture
from models.mesh.tone import apply_tone, estimate_tone
from models.mesh.topology import MeshTopology, build_topology
from models.mesh.views import order_views, share_views, turn_of
from utils.inference.alignment import scale_of, transform_points
from utils.inference.blending import blend_bands
from utils.inference.records import AlignedFace, Face, GeneratedFace, Identity, Image, Mask, MaskParameters, Points

SMALLEST_PX, LARGEST_PX = 256, 1024
COARSEST_PX = 32  # side of the coarsest picture that is blended
PASTE_STEEPNESS = 4.0
FAINTEST_MASK = 0.002
EYE_RINGS = tuple(eye.ring for eye in EYES)
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

    def align(self, frame: Image, face: Face, seed: int) -> AlignedFace:
        """Cut out an upright canvas about as fine as the frame.

        Raises:
            ValueError: if `face` has no dense landmarks.
        """
        landmarks = _dense_landmarks(face)
        size = choose_size(landmarks, SMALLEST_PX, LARGEST_PX)
        frame_to_canvas = estimate_frame_to_canvas(landmarks, size)
        return AlignedFace(cut_out(frame, frame_to_canvas, size), frame_to_canvas, face, seed)

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
    points = blend_shape(target.points, best.points_at(size), topology)
    ids = draw_triangle_ids(points, topology.triangles, size)
    warped = _render_views(textures, target.points, points, ids, topology)
    seen = analyse(target, warped, points, ids, aligned.visible)
    area = choose_area(points, size)
    below = area.of(target.image)
    result = from_lab(apply_tone(to_lab(area.of(warped)), estimate_tone(seen), area))
    eyes = [warp_opening(target, points, hole) for hole in topology.eye_holes]
    grey = is_grey(seen.target)
    for eye in give_source_eyes(eyes, points, best.portrait_for(size), best.eyes_lit, best.eye_colours, grey):
        lay_in(result, eye, area.origin(size))
    motion = aligned.frame_to_crop[:, :2] @ np.array(aligned.treatment.motion)
    result = match_motion(result, below, area.of(_cover(ids, points, EYE_RINGS)) > 0, motion)
    zones = np.where(seen.bare_skin, SKIN, np.where(seen.features * seen.visible > 0.5, FEATURES, 0)).astype(np.uint8)
    zones = cv2.resize(area.of(zones), below.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    result = match_detail(result, below, zones, scale_of(aligned.frame_to_crop), aligned.seed)
    lay_in(result, warp_opening(target, points, topology.mouth_hole), area.origin(size))
    outside = area.of(_cover(ids, points, (LIPS_INNER, *EYE_RINGS))) == 0
    mask = cv2.resize(make_mask(seen), (size, size), interpolation=cv2.INTER_LINEAR)
    return _join(result, target.image, outside, mask, area, aligned.visible)


def _render_views(
    textures: Sequence[SourceTexture], target: Points, points: Points, ids: IdMap, topology: MeshTopology
) -> Image:
    """The source's skin on `points`, from the photos that are turned most like `target`."""
    size = ids.shape[0]

    def render(texture: SourceTexture) -> Image:
        return render_source(texture.portrait_for(size), texture.own_weight, points, ids, topology)

    if len(textures) == 1:
        return render(textures[0])
    turns = [turn_of(texture.points, topology) for texture in textures]
    shares = share_views(turn_of(target, topology), turns)
    pictures = [render(textures[index]) for index, _ in shares]
    if len(pictures) == 1:
        return pictures[0]
    return cv2.addWeighted(pictures[0], shares[0][1], pictures[1], shares[1][1], 0).astype(np.uint8, copy=False)


def _cover(ids: IdMap, points: Points, openings: Sequence[tuple[int, ...]]) -> NDArray[np.uint8]:
    """(S, S): 1 inside the mesh or some of its openings."""
    covered = (ids > 0).astype(np.uint8)
    for ring in openings:
        cv2.fillPoly(covered, [fixed_point(points[list(ring)])], 1, cv2.LINE_8, SUBPIXEL_BITS)
    return covered


def _join(
    face: FloatImage, target: Image, outside: NDArray[np.bool_], mask: Mask, area: Area, visible: Mask | None
) -> GeneratedFace:
    """Join a face with the target.

    Args:
        face: of `area`, BGR in 0..255.
        target: (S, S, 3).
        outside: of `area`, where the face says nothing.
        mask: (S, S), its border as wide as the joint is to be.
        area: of the canvas.
        visible: (S, S), 0 where something hides the target's face; its colours are kept out of the joint.
    """
    background = area.of(target).astype(np.float32)
    np.copyto(face, background, where=outside[..., None])
    if visible is not None:
        background += (face - background) * (1 - area.of(visible))[..., None]
    levels = round(np.log2(target.shape[0] / COARSEST_PX))
    joined = emphasise(blend_bands(face, background, area.of(mask), levels))
    image = target.copy()
    area.of(image)[:] = cv2.convertScaleAbs(np.maximum(joined, 0, out=joined))
    # The joint is made; what is pasted must be this picture wherever it differs from the frame.
    paste = np.where(mask > FAINTEST_MASK, np.minimum(mask * PASTE_STEEPNESS, 1), 0).astype(np.float32)
    return GeneratedFace(image, paste)
