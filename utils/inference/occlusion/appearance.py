"""How a face looks, laid flat: a small picture in which a point of the face has the same place in every frame.

Pure functions and the flat space that needs nothing but five keypoints; a pack whose landmarks are dense brings a better one.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np

from utils.inference.alignment import (
    POSE_TEMPLATES_112,
    TEMPLATE_PX,
    estimate_similarity,
    invert,
    transform_points,
    warp_antialiased,
)
from utils.inference.records import Affine, Appearance, Face, Image, Mask, Points, Texels

FLAT_PX = 64  # side of the flat picture
PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)  # fast
FRONTAL_TEMPLATE = 2
FEATURE_RADII = (0.13, 0.13, 0.10, 0.17, 0.17)  # of the crop's side, around eyes, nose tip and corners of the mouth
FEATURE_TOLERANCE, PLAIN_TOLERANCE = 2.0, 1.6
FACE_AXES = (0.3, 0.42)  # of the crop's side: an ellipse that holds little but face
FACE_CENTRE_Y = 0.56


def make_appearance(picture: Image, seen: Texels) -> Appearance:
    """Compress a flat picture, without loss: the ripples of JPEG beside a strong edge are as strong as the difference between two skins.

    Args:
        picture: (FLAT_PX, FLAT_PX, 3) BGR uint8.
        seen: which texels show the face: turned to the camera, and inside the frame.
    """
    _, png = cv2.imencode(".png", picture, PNG_OPTIONS)
    return Appearance(png.tobytes(), pack_texels(seen))


def flat_picture(appearance: Appearance) -> Image:
    """(FLAT_PX, FLAT_PX, 3) BGR uint8."""
    picture = cv2.imdecode(np.frombuffer(appearance.png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "only what `make_appearance` made is read"
    return picture


def pack_texels(texels: Texels) -> bytes:
    """A compressed bit a texel."""
    return zlib.compress(np.packbits(texels).tobytes(), 1)


def unpack_texels(packed: bytes) -> Texels:
    """The opposite of `pack_texels`."""
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8))
    return bits.reshape(FLAT_PX, FLAT_PX).astype(bool)


class KeypointSurface:
    """The flat space of a pack without dense landmarks: a frontal crop by the five keypoints. See `Surface`.

    Turning and expression move the face in it, hence the wide tolerance.
    """

    slack_texels = 4

    def __init__(self) -> None:
        y, x = (np.mgrid[0:FLAT_PX, 0:FLAT_PX] + 0.5) / FLAT_PX
        self._face = ((x - 0.5) / FACE_AXES[0]) ** 2 + ((y - FACE_CENTRE_Y) / FACE_AXES[1]) ** 2 <= 1
        self.tolerance = np.full((FLAT_PX, FLAT_PX), PLAIN_TOLERANCE, np.float32)
        for (centre_x, centre_y), radius in zip(_template(1.0), FEATURE_RADII, strict=True):
            self.tolerance[np.hypot(x - centre_x, y - centre_y) < radius] = FEATURE_TOLERANCE

    def flatten(self, frame: Image, face: Face) -> Appearance:
        """See `Surface`."""
        frame_to_flat = _frame_to_flat(face)
        picture = warp_antialiased(frame, frame_to_flat, (FLAT_PX, FLAT_PX), cv2.BORDER_REPLICATE)
        y, x = np.mgrid[0:FLAT_PX, 0:FLAT_PX]
        in_frame = transform_points(invert(frame_to_flat), np.column_stack([x.ravel(), y.ravel()]).astype(np.float64))
        return make_appearance(picture, self._face & lies_inside(in_frame, frame))

    def place(self, occluded: Texels, face: Face, frame_to_crop: Affine, size: int) -> Mask:
        """See `Surface`."""
        flat_to_crop = _compose(frame_to_crop, invert(_frame_to_flat(face)))
        visible = 1 - occluded.astype(np.float32)
        return cv2.warpAffine(
            visible, flat_to_crop, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


def lies_inside(places: Points, frame: Image) -> Texels:
    """Which of (FLAT_PX * FLAT_PX, 2) places, row by row, lie inside the frame."""
    last = np.array([frame.shape[1], frame.shape[0]]) - 1
    inside: Texels = ((places >= 0) & (places <= last)).all(1).reshape(FLAT_PX, FLAT_PX)
    return inside


def _template(size: float) -> Points:
    return POSE_TEMPLATES_112[FRONTAL_TEMPLATE] * (size / TEMPLATE_PX)


def _frame_to_flat(face: Face) -> Affine:
    return estimate_similarity(face.keypoints, _template(FLAT_PX))


def _compose(outer: Affine, inner: Affine) -> Affine:
    """The affine that does `inner` first."""
    linear = outer[:, :2] @ inner[:, :2]
    return np.hstack([linear, (outer[:, :2] @ inner[:, 2:]) + outer[:, 2:]])
