"""Where things are: regions of the face, and the mask of the swap.

All of it varies slowly and is computed on a small canvas, whose cost does not depend on the face's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import BEARDLESS, EYES, FACE_CORE, LIPS_INNER, LIPS_OUTER, MID_FOREHEAD, OVAL
from models.mesh.canvas import Area, FloatImage, Pixel, Portrait, resize_points
from models.mesh.colour import blur, from_tones, skin_likeness, to_lab, to_tones
from models.mesh.raster import fill_polygons
from models.mesh.render import Drawing
from utils.inference.records import Image, Mask, Points

ANALYSIS_PX = 128  # side of the small canvas
FEATURE_MARGIN_PX = 3
SKIN_BLUR_PX = 0.006 * ANALYSIS_PX
BAND_BLUR_PX = 0.01 * ANALYSIS_PX
CLOSED_GAP_PX = ANALYSIS_PX // 40
SURELY_SKIN, STRAND_PX = 0.7, 3
BELOW_HAIR = (*OVAL[OVAL.index(MID_FOREHEAD[0]) : OVAL.index(MID_FOREHEAD[-1]) + 1], *MID_FOREHEAD[-2:0:-1])
BORDER_BLUR_PX = 0.031 * ANALYSIS_PX
END_PX = 4  # within which a mask ends at the border of its area, where a chin may touch the canvas's


@dataclass(frozen=True, eq=False)
class Analysis:
    """A target and the source warped onto it, seen on an area (h, w) of a canvas of ANALYSIS_PX; masks are (h, w) float32.

    Attributes:
        target: (h, w, 3) BGR uint8, averaged over the pixels of the full canvas.
        warped: (h, w, 3) tones, averaged likewise.
        target_grain, warped_grain: tones, picked without averaging, so that they have the spread of single pixels.
        target_points, points: (478, 3) landmarks of the target, and of the result, on the whole canvas of ANALYSIS_PX.
        area: of the canvas.
        face: inside the mesh, openings excluded.
        covered: inside the mesh or its openings.
        features: lips, eyes and brows, with a margin.
        eyes: the lid openings, with a margin.
        visible: 0 where something in front hides the target's face.
        target_skin, source_skin: likeness to the skin of each; what is hidden is no skin.
    """

    target: Image
    warped: FloatImage
    target_grain: FloatImage
    warped_grain: FloatImage
    target_points: Points
    points: Points
    area: Area
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

    def fill(self, points: Points, *polygons: Sequence[int]) -> FloatImage:
        """(h, w) mask of polygons of landmarks."""
        return _fill(self.area, points, *polygons)


def analyse(target: Portrait, warped: FloatImage, drawing: Drawing, visible: Mask | None) -> Analysis:
    """Look at both pictures on the small canvas.

    Args:
        target: on the full canvas.
        warped: tones, of the drawing's area of the full canvas.
        drawing: the result's mesh.
        visible: of the full canvas; None if nothing hides the face.
    """
    area, factor = drawing.area, ANALYSIS_PX / drawing.size
    shape = area.shape(ANALYSIS_PX)
    target_points, points = resize_points(target.points, factor), resize_points(drawing.points, factor)
    fill = partial(_fill, area)
    face = _shrink(drawing.skin(), shape)
    eyes = fill(points, *(eye.ring for eye in EYES))
    features = np.maximum(fill(points, LIPS_OUTER, *(eye.brow for eye in EYES)), eyes)
    features = cv2.dilate(features, np.ones((FEATURE_MARGIN_PX, FEATURE_MARGIN_PX), np.uint8))
    seen = np.ones_like(face) if visible is None else _shrink(area.of(visible), shape)
    below = area.of(target.image)
    target_small, warped_small = _shrink(below, shape), _shrink(warped, shape)
    plain = 1 - features
    target_skin = _find_skin(to_lab(target_small), fill(target_points, BEARDLESS) * plain * seen)
    source_skin = _find_skin(to_lab(from_tones(warped_small)), fill(points, BEARDLESS) * plain)
    forehead = blur(fill(points, OVAL) * (1 - fill(points, BELOW_HAIR)), STRAND_PX)
    return Analysis(
        target=target_small,
        warped=warped_small,
        target_grain=to_tones(_pick(below, shape)),
        warped_grain=_pick(warped, shape),
        target_points=target_points,
        points=points,
        area=area,
        face=face,
        covered=np.maximum(face, np.maximum(eyes, fill(points, LIPS_INNER))),
        features=features,
        eyes=cv2.dilate(eyes, np.ones((3, 3), np.uint8)),
        visible=seen,
        target_skin=_without_strands(target_skin, forehead) * seen,
        source_skin=_without_strands(source_skin, forehead),
    )


def _fill(area: Area, points: Points, *polygons: Sequence[int]) -> FloatImage:
    return area.of(fill_polygons(points, polygons, ANALYSIS_PX))


def _shrink(image: NDArray[Pixel], shape: tuple[int, int]) -> NDArray[Pixel]:
    """Averages of areas; halved first, as the ratio may be odd, and that takes ten times as long."""
    height, width = image.shape[:2]
    if height >= 2 * shape[0]:
        image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)


def _pick(image: NDArray[Pixel], shape: tuple[int, int]) -> NDArray[Pixel]:
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST)


def _find_skin(lab: FloatImage, sampled: FloatImage) -> FloatImage:
    return skin_likeness(blur(lab, SKIN_BLUR_PX), sampled)


def make_mask(seen: Analysis) -> Mask:
    """(h, w) in [0, 1]: how much of the result replaces the target.

    From the chin to the hairline; near its border only where both faces show skin, so that hair stays in front. Known
    occluders change nothing here: the mask is cut at their edge later, and that edge is sharper.
    """
    mask = seen.fill(seen.points, OVAL) * cv2.erode(seen.covered, np.ones((3, 3), np.uint8))
    skin = cv2.morphologyEx(
        np.minimum(np.maximum(seen.target_skin, 1 - seen.visible), seen.source_skin),
        cv2.MORPH_CLOSE,
        np.ones((CLOSED_GAP_PX, CLOSED_GAP_PX), np.uint8),
    )
    band = 1 - blur(seen.fill(seen.points, FACE_CORE), BAND_BLUR_PX)
    plain = 1 - blur(seen.features, BAND_BLUR_PX)
    mask *= 1 - band * plain * (1 - blur(skin, BAND_BLUR_PX))
    mask = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return np.clip(blur(mask, BORDER_BLUR_PX), 0, 1) * _end_softly(mask.shape)


def _end_softly(shape: tuple[int, ...]) -> FloatImage:
    """0 at the border, 1 from END_PX on."""
    rows, columns = (np.minimum(np.arange(side), np.arange(side)[::-1]) for side in shape)
    return np.clip(np.minimum(rows[:, None], columns) / END_PX, 0, 1).astype(np.float32)


def _without_strands(skin: FloatImage, where: FloatImage) -> FloatImage:
    """`skin` more doubtful, and drawn back a little, where hair may hang: single strands are hardly darker than skin."""
    sure = np.clip((skin - SURELY_SKIN) / (1 - SURELY_SKIN), 0, 1)
    sure = cv2.erode(sure, np.ones((STRAND_PX, STRAND_PX), np.uint8))
    return skin + where * (sure - skin)
