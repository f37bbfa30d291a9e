"""The embedded face detector: two MediaPipe BlazeFace nets over the whole picture and over tiles.

`back` (256 px) finds close faces, `full_range` (192 px) smaller ones; neither finds all, so their answers are joined. Faces that are small
in the picture are searched in overlapping square tiles. What is found here is a candidate: the pack's landmarker confirms it.

Source: V. Bazarevsky et al., BlazeFace, arXiv 1907.05047; anchors and decoding as in MediaPipe's SsdAnchorsCalculator.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.boxes import box_iou, drop_duplicates
from utils.inference.records import Face, Image, Points
from utils.inference.shrinking import shrink
from utils.onnx_session import open_session

FloatArray = NDArray[np.float32]

MERGE_IOU = 0.3  # MediaPipe face_detection: min_suppression_threshold
SMALL_FACE_PX = 80  # tiles are added until a face of this height is found reliably
RELIABLE_FACE_RATIO = 0.15  # face height / long side from which the nets find 97 % of faces without tiles
MAX_TILE_LEVELS = 2
TILE_OVERLAP = 1.25  # a tile is this much longer than its share of the long side


@dataclass(frozen=True)
class NetLayout:
    """Geometry of one BlazeFace net: input side in px, then the stride and anchors a cell of each feature map."""

    size_px: int
    maps: tuple[tuple[int, int], ...]


BACK = NetLayout(256, ((16, 2), (32, 6)))
FULL_RANGE = NetLayout(192, ((4, 1),))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes (N, 4) left, top, right, bottom; keypoints (N, 6, 2); scores (N,); best score below or above the threshold."""

    boxes: Points
    keypoints: Points
    scores: NDArray[np.float64]
    best_score: float


def anchor_centres(layout: NetLayout) -> FloatArray:
    """(A, 2) anchor centres in [0, 1].

    >>> anchor_centres(FULL_RANGE).shape, anchor_centres(BACK).shape
    ((2304, 2), (896, 2))
    """
    centres = []
    for stride, repeats in layout.maps:
        cells = layout.size_px // stride
        rows, columns = np.mgrid[0:cells, 0:cells]
        grid = np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2) / cells
        centres.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode(
    regressors: FloatArray, logits: FloatArray, anchors: FloatArray, size_px: int, threshold: float
) -> Candidates:
    """Turn the raw answer of a net into candidates in pixels of its input.

    Args:
        regressors: (A, 16): centre, width and height, six keypoints, in pixels relative to the anchor.
        logits: (A,).
        anchors: (A, 2) in [0, 1].
        size_px: side of the input.
        threshold: on the score in [0, 1]. Answers that are not finite are dropped.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(np.nan_to_num(logits.astype(np.float64), nan=-80.0), -80.0, 80.0)))
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.isfinite(regressors[kept]).all(axis=1)]
    points = regressors[kept].astype(np.float64).reshape(-1, 8, 2)
    origin = anchors[kept].astype(np.float64) * size_px
    centre, extent = points[:, 0] + origin, points[:, 1]
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    return Candidates(boxes, points[:, 2:] + origin[:, None], scores[kept], float(scores.max(initial=0.0)))


def merge_overlapping(found: Candidates) -> list[Face]:
    """Average the candidates of one face weighted by score, best first (MediaPipe's weighted non-maximum suppression)."""
    faces: list[Face] = []
    alive = np.ones(len(found.scores), bool)
    for best in np.argsort(-found.scores, kind="stable"):
        if not alive[best]:
            continue
        group = alive & (box_iou(found.boxes[best], found.boxes) > MERGE_IOU)
        group[best] = True
        weights = found.scores[group] / found.scores[group].sum()
        points = np.einsum("n,nkc->kc", weights, found.keypoints[group])
        left_mouth = right_mouth = points[3]  # one mouth centre: the landmarker refines it to the two corners
        keypoints = np.stack([points[0], points[1], points[2], left_mouth, right_mouth])
        faces.append(Face(weights @ found.boxes[group], float(found.scores[best]), keypoints))
        alive &= ~group
    return faces


def tile_regions(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Overlapping squares (left, top, right, bottom) in which small faces of a picture are searched; none for a small picture.

    >>> tile_regions(200, 200)
    []
    >>> tile_regions(640, 360)
    [(0, 0, 400, 360), (240, 0, 640, 360)]
    """
    long_side = max(width, height)
    smallest_found_px = RELIABLE_FACE_RATIO * TILE_OVERLAP * long_side
    levels = int(np.clip(np.ceil(np.log2(max(smallest_found_px / SMALL_FACE_PX, 1e-9))), 0, MAX_TILE_LEVELS))
    regions = []
    for level in range(1, levels + 1):
        side = min(TILE_OVERLAP * long_side / 2**level, long_side)
        for top in _tile_starts(height, side):
            for left in _tile_starts(width, side):
                regions.append((left, top, int(min(left + side, width)), int(min(top + side, height))))
    return regions


def _tile_starts(length: int, side: float) -> list[int]:
    """First pixels of tiles of `side` that cover `length` with at least 40 % overlap."""
    if length <= side:
        return [0]
    steps = int(np.ceil((length - side) / (side * 0.6)))
    return [int((length - side) * step / steps) for step in range(steps + 1)]


class BlazeFaceNet:
    """One BlazeFace net."""

    def __init__(self, path: Path, layout: NetLayout) -> None:
        self._session = open_session(path)
        self._layout = layout
        self._anchors = anchor_centres(layout)

    def find(self, image: Image, region: tuple[int, int, int, int], threshold: float) -> Candidates:
        """Candidates in `region` (left, top, right, bottom) of `image`, in pixels of `image`."""
        size_px = self._layout.size_px
        left, top, right, bottom = region
        part = image[top:bottom, left:right]
        scale = size_px / max(right - left, bottom - top)
        width, height = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        pad_x, pad_y = (size_px - width) // 2, (size_px - height) // 2
        letterbox = np.zeros((size_px, size_px, 3), np.uint8)
        resized = shrink(part, (width, height)) if scale < 1 else cv2.resize(part, (width, height))
        letterbox[pad_y : pad_y + height, pad_x : pad_x + width] = resized
        tensor = cv2.cvtColor(letterbox, cv2.COLOR_BGR2RGB)[None].astype(np.float32)
        tensor /= np.float32(127.5)
        tensor -= np.float32(1)
        regressors, logits = self._session.run(["regressors", "scores"], {"input": tensor})
        found = decode(regressors.reshape(-1, 16), logits.reshape(-1), self._anchors, size_px, threshold)
        pad = np.array([pad_x, pad_y], np.float64)
        to_image = np.array([(right - left) / width, (bottom - top) / height])
        origin = np.array([left, top], np.float64)
        boxes = ((found.boxes.reshape(-1, 2, 2) - pad) * to_image + origin).reshape(-1, 4)
        return Candidates(boxes, (found.keypoints - pad) * to_image + origin, found.scores, found.best_score)


class BlazeFaceDetector:
    """Detector of the embedded pack."""

    def __init__(self, back: Path, full_range: Path, det_thresh: float) -> None:
        """Load both nets; `det_thresh` in [0, 1] is the score from which on a candidate counts."""
        self._back = BlazeFaceNet(back, BACK)
        self._full_range = BlazeFaceNet(full_range, FULL_RANGE)
        self.det_thresh = det_thresh

    def detect(self, image: Image, thorough: bool = True) -> tuple[list[Face], float]:
        """See `Detector`; without tiles if not `thorough`."""
        height, width = image.shape[:2]
        whole = (0, 0, width, height)
        close = self._back.find(image, whole, self.det_thresh)
        searched = [self._full_range.find(image, whole, self.det_thresh)]
        if thorough:
            with ThreadPoolExecutor() as beside:  # the net runs on one thread, without Python's lock
                searched += beside.map(partial(self._search_tile, image), tile_regions(width, height))
        distant = Candidates(
            np.concatenate([found.boxes for found in searched]),
            np.concatenate([found.keypoints for found in searched]),
            np.concatenate([found.scores for found in searched]),
            max(found.best_score for found in searched),
        )
        faces = drop_duplicates(merge_overlapping(close) + merge_overlapping(distant))
        return faces, max(close.best_score, distant.best_score)

    def _search_tile(self, image: Image, region: tuple[int, int, int, int]) -> Candidates:
        """Candidates of a tile without those that its inner borders cut; a neighbouring tile sees them whole."""
        found = self._full_range.find(image, region, self.det_thresh)
        height, width = image.shape[:2]
        margin_px = 2
        inner = [region[0] > 0, region[1] > 0, region[2] < width, region[3] < height]
        inside = np.ones(len(found.boxes), bool)
        for side, is_inner in enumerate(inner):
            if is_inner:
                distance = (found.boxes[:, side] - region[side]) * (1 if side < 2 else -1)
                inside &= distance > margin_px
        return Candidates(found.boxes[inside], found.keypoints[inside], found.scores[inside], found.best_score)
