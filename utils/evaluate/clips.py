"""Analysis and plan of a clip in memory, as the tool does them, for measures that render it themselves or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from utils.inference.core import Analysis
from utils.inference.face_swapper import FaceSwapper
from utils.inference.frame_records import FrameRecord
from utils.inference.occlusion.marking import learn_clear_faces
from utils.inference.plan import plan_records
from utils.inference.records import Image
from utils.inference.request import SwapRequest
from utils.inference.tracking.tracks import Tracker


def analyse_clip(frames: Iterable[tuple[int, Image]], swapper: FaceSwapper) -> tuple[Analysis, list[FrameRecord]]:
    """What is seen in `frames`, time stamp and (H, W, 3) BGR uint8."""
    analysis = Analysis(swapper.pack, Tracker(swapper.pack.embedder, swapper.similarity_th))
    return analysis, list(analysis.analyse(frames))


def plan_clip(
    analysis: Analysis,
    seen: Sequence[FrameRecord],
    request: SwapRequest,
    swapper: FaceSwapper,
    frame_size: tuple[int, int],
) -> list[FrameRecord]:
    """What is to be done with the frames of `analyse_clip`, of `frame_size` (width, height).

    Raises:
        NoFaceFound: if none of the wanted persons is seen.
    """
    pack = swapper.pack
    cast = request.cast(analysis, pack.detector.det_thresh)
    clear_faces = learn_clear_faces(seen, cast.source_of_track, pack.surface) if pack.surface else None
    return list(plan_records(seen, analysis.tracker.tracks, cast, pack, frame_size, None, clear_faces))
