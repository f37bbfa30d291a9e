"""Where things are: regions of the face, and the mask of the swap.

All of it varies slowly and is computed on a small canvas, whose cost does not depend on the face's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE, EYES, FACE_CORE, LIPS_INNER, LIPS_OUTER, MID_FOREHEAD, OVAL
from models.mesh.canvas import FloatImage, Pixel, Portrait, resize_points
from models.mesh.colour import blur, skin_likeness, to_lab
from models.mesh.raster import SUBPIXEL_BITS, IdMap, fill_polygon
from utils.inference.records import Image, Mask, Points

ANALYSIS_PX = 128  # side of the small canvas
FEATURE_MARGIN_PX = 3
SKIN_BLUR_PX = 0.006 * ANALYSIS_PX
BAND_BLUR_PX = 0.01 * ANALYSIS_PX
CLOSED_GAP_PX = ANALYSIS_PX // 40
OUTLINE_SHARE = 0.98  # the mask's outline is drawn towards its centre
BORDER_BLUR_PX = 0.021 * ANALYSIS_PX


@dataclass(frozen=True, eq=False)
class Analysis:
    """A target and the source warped onto it, seen on a canvas of ANALYSIS_PX; masks are (A, A) float32.

    Attributes:
        target, warped: (A, A, 3) LAB, averaged over the pixels of the full canvas.
        target_grain, warped_grain: the same, picked without averaging, so that they have the spread of single pixels.
        target_points, points: (478, 3) landmarks of the target, and of the result.
        face: inside the mesh, openings excluded.
        covered: inside the mesh or its openings.
        features: lips, eyes and brows, with a margin.
        eyes: the lid openings, with a margin.
        visible: 0 where something in front hides the target's face.
        target_skin, source_skin: likeness to the skin of each; what is hidden is no skin.
    """

    target: FloatImage
    warped: FloatImage
    target_grain: FloatImage
    warped_grain: FloatImage
    target_points: Points
    points: Points
    face: FloatImage
    covered: FloatImage
    features: FloatImage
    eyes: FloatImage
    visible: FloatImage
    target_skin: FloatImage
    source_skin: FloatImage

    @property
    def bare_skin(self) -> NDArray[np.bool_]:
        """Where target and source both show skin."""
        return (self.face * (1 - self.features) > 0.5) & (self.target_skin > 0.5) & (self.source_skin > 0.5)

    @property
    def shown(self) -> FloatImage:
        """Where the target's own face can be seen, openings excluded."""
        return self.face * self.visible


def analyse(target: Portrait, warped: Image, points: Points, ids: IdMap, visible: Mask | None) -> Analysis:
    """Look at both pictures on the small canvas; all arguments are in pixels of the full canvas."""
    factor = ANALYSIS_PX / target.image.shape[0]
    target_points, points = resize_points(target.points, factor), resize_points(points, factor)
    face = shrink((ids > 0).astype(np.float32), cv2.INTER_AREA)
    eye_rings = [fill_polygon(points, eye.ring, ANALYSIS_PX) for eye in EYES]
    brows = [fill_polygon(points, eye.brow, ANALYSIS_PX) for eye in EYES]
    features = np.maximum.reduce([fill_polygon(points, LIPS_OUTER, ANALYSIS_PX), *eye_rings, *brows])
    features = cv2.dilate(features, np.ones((FEATURE_MARGIN_PX, FEATURE_MARGIN_PX), np.uint8))
    openings = np.maximum.reduce([fill_polygon(points, LIPS_INNER, ANALYSIS_PX), *eye_rings])
    seen = np.ones_like(face) if visible is None else shrink(visible, cv2.INTER_AREA)
    target_lab, warped_lab = (to_lab(shrink(image, cv2.INTER_AREA)) for image in (target.image, warped))
    return Analysis(
        target=target_lab,
        warped=warped_lab,
        target_grain=to_lab(shrink(target.image, cv2.INTER_NEAREST)),
        warped_grain=to_lab(shrink(warped, cv2.INTER_NEAREST)),
        target_points=target_points,
        points=points,
        face=face,
        covered=np.maximum(face, openings),
        features=features,
        eyes=cv2.dilate(np.maximum(*eye_rings), np.ones((3, 3), np.uint8)),
        visible=seen,
        target_skin=_find_skin(target_lab, target_points, (1 - features) * seen) * seen,
        source_skin=_find_skin(warped_lab, points, 1 - features),
    )


def shrink(image: NDArray[Pixel], interpolation: int) -> NDArray[Pixel]:
    """Resize a canvas to the small one."""
    return cv2.resize(image, (ANALYSIS_PX, ANALYSIS_PX), interpolation=interpolation)


def _find_skin(lab: FloatImage, points: Points, plain: FloatImage) -> FloatImage:
    sampled = fill_polygon(points, CHEEKS_AND_NOSE, ANALYSIS_PX) * plain
    return skin_likeness(blur(lab, SKIN_BLUR_PX), sampled)


def make_mask(seen: Analysis) -> Mask:
    """(A, A) in [0, 1]: how much of the result replaces the target.

    From the chin to the middle of the forehead; near its border only where both faces show skin, so that hair stays in front. Known
    occluders change nothing here: the mask is cut at their edge later, and that edge is sharper.
    """
    outline = _outline(seen.points)
    mask = np.zeros((ANALYSIS_PX, ANALYSIS_PX), np.float32)
    corners = np.round(outline * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1.0, cv2.LINE_AA, SUBPIXEL_BITS)
    mask *= cv2.erode(seen.covered, np.ones((3, 3), np.uint8))
    skin = cv2.morphologyEx(
        np.minimum(np.maximum(seen.target_skin, 1 - seen.visible), seen.source_skin),
        cv2.MORPH_CLOSE,
        np.ones((CLOSED_GAP_PX, CLOSED_GAP_PX), np.uint8),
    )
    band = 1 - blur(fill_polygon(seen.points, FACE_CORE, ANALYSIS_PX), BAND_BLUR_PX)
    plain = 1 - blur(seen.features, BAND_BLUR_PX)
    mask *= 1 - band * plain * (1 - blur(skin, BAND_BLUR_PX))
    mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return np.clip(blur(mask, BORDER_BLUR_PX), 0, 1)


def _outline(points: Points) -> Points:
    """The oval from temple to temple under the chin, and the middle of the forehead between them."""
    first, last = OVAL.index(MID_FOREHEAD[0]), OVAL.index(MID_FOREHEAD[-1])
    ring = [*OVAL[first : last + 1], *MID_FOREHEAD[-2:0:-1]]
    outline = points[ring, :2]
    centre = outline.mean(0)
    return centre + OUTLINE_SHARE * (outline - centre)
