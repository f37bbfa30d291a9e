"""Which part of a face something in front hides: decided over a track, before anything is rendered.

Source of the idea: background subtraction, on the face laid flat. A frame is compared with the clear face of its track; what differs
in one piece, and in neighbouring frames too, is an occluder. In doubt the face is taken to be whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.model_pack import Surface
from utils.inference.occlusion.appearance import FLAT_PX
from utils.inference.occlusion.clear_face import ClearFace, Expectation, learn_clear_face, measure_deviation
from utils.inference.records import Appearance, Texels

MOST_SAMPLES = 48  # of a track, that its clear face is learned from
FEWEST_SAMPLES = 8  # fewer do not tell what is the face
GONE_AFTER_FRAMES = 30  # a track that was not seen for so long has ended
SURE, LIKELY = 3.4, 1.5  # deviations
LARGEST_DEVIATION = 8.0
SMOOTHING_TEXELS = 1.2
SPECK_TEXELS = 3  # thinner things are lids, lips and edges of landmarks that slipped
SMALLEST_TEXELS = 12
OPENING_TEXELS = 9  # eyes and mouth, which are not judged, are no wider
OUTLINE_TEXELS = 2
INNER_QUANTILE, INNER_SURE = (
    0.75,
    5.5,
)  # of the deviation, from which on a piece is believed that does not reach the outline
GROWTH_TEXELS = 14  # how far around what is sure the likely belongs to it
CLOSED_TEXELS = 5
LARGEST_HOLE_SHARE = 0.1  # of the face, enclosed by an occluder, that is taken to be the occluder, too
LARGEST_SHARE = 0.65  # of the face; if more differs, the light does
LOOK_AHEAD_FRAMES = 2
CONFIRMING_FRAMES = 2  # among the neighbours
STEP_TEXELS = 9  # side of the square by which an occluder may move from frame to frame


@dataclass
class _Samples:
    """Every so many frames of a track, as few as are needed to spread over all of it."""

    kept: list[Appearance] = field(default_factory=list)
    stride: int = 1
    count: int = 0
    last: int = 0

    def add(self, appearance: Appearance, frame: int) -> None:
        if self.count % self.stride == 0:
            self.kept.append(appearance)
        self.count, self.last = self.count + 1, frame
        if len(self.kept) >= 2 * MOST_SAMPLES:
            self.kept, self.stride = self.kept[::2], 2 * self.stride


def learn_clear_faces(
    records: Iterable[FrameRecord], tracks: Collection[int], surface: Surface
) -> dict[int, ClearFace]:
    """Track -> its face without anything in front of it, for those of `tracks` that are long enough to tell.

    Memory grows with the number of tracks, by 30 kB each, not with their length.

    Args:
        records: of the analysis, in order.
        tracks: that are swapped.
        surface: of the pack.
    """
    learned: dict[int, ClearFace] = {}
    samples: dict[int, _Samples] = {}

    def finish(before: float) -> None:
        for track in [track for track, sampled in samples.items() if sampled.last < before]:
            kept = samples.pop(track).kept
            if len(kept) >= FEWEST_SAMPLES:
                learned[track] = learn_clear_face(kept, surface.tolerance, surface.slack_texels)

    for record in records:
        for recorded in record.faces:
            if recorded.track in tracks and recorded.appearance is not None:
                samples.setdefault(recorded.track, _Samples()).add(recorded.appearance, record.index)
        finish(record.index - GONE_AFTER_FRAMES)
    finish(float("inf"))
    return learned


@dataclass(frozen=True, eq=False)
class _Suspicion:
    """What a frame says by itself: pieces that are surely something else, and texels that may well be."""

    pieces: Texels
    likely: Texels


def mark_occlusions(records: Iterable[FrameRecord], clear_faces: Mapping[int, ClearFace]) -> Iterator[FrameRecord]:
    """The same records, a few frames later, with what is in front of every swapped face, and without appearances.

    Whether somebody wears glasses is decided once a track, so that they do not come and go.

    Args:
        records: in order, with appearances.
        clear_faces: by track; a face without one is taken to be whole.
    """
    waiting: deque[FrameRecord] = deque()
    suspicions: dict[int, dict[int, _Suspicion]] = {}  # frame -> track -> what it says
    expectations: dict[int, Expectation] = {}  # of the tracks of the last frame

    def decide() -> FrameRecord:
        record = waiting.popleft()
        marked = [_mark(recorded, record.index, suspicions) for recorded in record.faces]
        faces = tuple(
            recorded.treated(glasses=clear_faces[recorded.track].glasses) if recorded.track in clear_faces else recorded
            for recorded in marked
        )
        for frame in [frame for frame in suspicions if frame < record.index - LOOK_AHEAD_FRAMES]:
            del suspicions[frame]
        return replace(record, faces=faces)

    for record in records:
        waiting.append(record)
        looks = {
            recorded.track: recorded.appearance
            for _, recorded in record.swaps
            if recorded.appearance is not None and recorded.track in clear_faces
        }
        expectations = {track: expectations.get(track) or clear_faces[track].expect() for track in looks}
        suspicions[record.index] = {
            track: suspect(*measure_deviation(look, clear_faces[track], expectations[track]))
            for track, look in looks.items()
        }
        if len(waiting) > LOOK_AHEAD_FRAMES:
            yield decide()
    while waiting:
        yield decide()


def _mark(recorded: RecordedFace, frame: int, suspicions: Mapping[int, Mapping[int, _Suspicion]]) -> RecordedFace:
    """Keep what neighbouring frames confirm; bridge what they have and this one only suspects."""
    steps = range(1, LOOK_AHEAD_FRAMES + 1)
    before, after = (
        [suspicions[near][recorded.track].pieces for near in side if recorded.track in suspicions.get(near, {})]
        for side in ((frame - step for step in steps), (frame + step for step in steps))
    )
    here = suspicions.get(frame, {}).get(recorded.track)
    bridged = _union(before) & _union(after)
    if here is None:  # a frame in which the face itself was not found
        occluded = bridged
    else:
        occluded = here.pieces
        if before or after:
            step = np.ones((STEP_TEXELS, STEP_TEXELS), np.uint8)
            confirmed = np.sum([cv2.dilate(near.astype(np.uint8), step) for near in (*before, *after)], 0)
            enough = min(CONFIRMING_FRAMES, len(before) + len(after))
            occluded = pieces_touching(occluded, confirmed >= enough)
        occluded = occluded | (here.likely & bridged)
    return replace(recorded, appearance=None).treated(occluded=occluded if occluded.any() else None)


def _union(pieces: list[Texels]) -> Texels:
    return np.logical_or.reduce(pieces) if pieces else np.zeros((FLAT_PX, FLAT_PX), bool)


def suspect(deviation: NDArray[np.float32], judged: Texels) -> _Suspicion:
    """Find occluders in a single frame.

    Args:
        deviation: (FLAT_PX, FLAT_PX) float32 from the clear face.
        judged: where that is known.
    """
    if not judged.any():
        return _Suspicion(judged, judged)
    smooth = _smooth(np.minimum(deviation, LARGEST_DEVIATION), judged)
    # Capped so low, what is surely something else does not reach out over its edge.
    likely = (_smooth(np.minimum(deviation, 2 * LIKELY), judged) > LIKELY) & judged
    sure = (smooth > SURE) & likely
    core = cv2.morphologyEx(sure.astype(np.uint8), cv2.MORPH_OPEN, _disc(SPECK_TEXELS))
    if not core.any():
        return _Suspicion(np.zeros_like(judged), likely)
    near = cv2.dilate(core, _disc(2 * GROWTH_TEXELS + 1)) > 0
    grown = pieces_touching(likely & near, core > 0).astype(np.uint8)
    closed = cv2.morphologyEx(grown, cv2.MORPH_CLOSE, _disc(CLOSED_TEXELS))
    count = float(judged.sum())
    pieces = _believable(_fill_holes(closed, LARGEST_HOLE_SHARE * count), smooth, judged)
    if (pieces & judged).sum() > LARGEST_SHARE * count:
        pieces = np.zeros_like(pieces)
    # What reaches the rim of what is judged goes on beyond it; the openings are as hidden as what lies beside them.
    return _Suspicion(pieces.ravel()[_nearest(judged)], likely)


def _smooth(deviation: NDArray[np.float32], judged: Texels) -> NDArray[np.float32]:
    """Gaussian mean over the judged neighbours."""
    weight = judged.astype(np.float32)
    mean = cv2.GaussianBlur(deviation * weight, (0, 0), SMOOTHING_TEXELS)
    smooth: NDArray[np.float32] = mean / (cv2.GaussianBlur(weight, (0, 0), SMOOTHING_TEXELS) + np.float32(0.05))
    return smooth


def pieces_touching(texels: Texels, seeds: Texels) -> Texels:
    """Those connected pieces of `texels` that share a texel with `seeds`."""
    _, labels = cv2.connectedComponents(texels.astype(np.uint8))
    touched = np.unique(labels[seeds & texels])
    return np.isin(labels, touched) & texels


def _believable(pieces: NDArray[np.uint8], deviation: NDArray[np.float32], judged: Texels) -> Texels:
    """Pieces that are large enough; and that reach the outline, as what comes in front of a face does, or stand out all the more."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(pieces)
    face = cv2.morphologyEx(judged.astype(np.uint8), cv2.MORPH_CLOSE, _disc(OPENING_TEXELS))
    believed = statistics[:, cv2.CC_STAT_AREA] >= SMALLEST_TEXELS
    believed[0] = False
    rim = face - cv2.erode(face, _disc(2 * OUTLINE_TEXELS + 1), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    for piece in range(1, count):
        here = labels == piece
        if not (here & (rim > 0)).any():
            inside = deviation[here & judged]
            believed[piece] &= bool(len(inside)) and float(np.quantile(inside, INNER_QUANTILE)) >= INNER_SURE
    result: Texels = believed[labels]
    return result


def _fill_holes(pieces: NDArray[np.uint8], largest: float) -> NDArray[np.uint8]:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(1 - pieces, connectivity=4)
    small = statistics[:, cv2.CC_STAT_AREA] <= largest
    small[0] = False
    return np.where(small[labels], np.uint8(1), pieces)


def _nearest(region: Texels) -> NDArray[np.intp]:
    """(FLAT_PX, FLAT_PX): flat index of the nearest texel of `region`."""
    outside = (~region).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    texel_of_label = np.zeros(labels.max() + 1, np.intp)
    texel_of_label[labels[region]] = np.flatnonzero(region)
    return texel_of_label[labels]


def _disc(side: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
