"""The state of an analysis as JSON, so that an interrupted one goes on as if nothing had happened.

Numbers are stored exactly. The faces of the last frame are not in it: they are in the last record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from utils.inference.core import Analysis, AnalysisSummary
from utils.inference.frame_records import FrameRecord, face_from_json, face_to_json, pack_array, unpack_array
from utils.inference.model_pack import ModelPack
from utils.inference.tracking.cuts import SMALL_SIZE, CutDetector
from utils.inference.tracking.tracks import FaceTrack, Sighting, Tracker


def analysis_to_json(analysis: Analysis) -> dict[str, Any]:
    """What `analysis_from_json` needs; nothing in it changes when the analysis goes on."""
    tracker, last = analysis.tracker, analysis.cuts.last
    return {
        "summary": asdict(analysis.summary),
        "last_frame": None if last is None else last.ravel().tolist(),
        "changes": list(analysis.cuts.changes),
        "tracks": [_track_to_json(track) for track in tracker.tracks],
        "companies": [[sorted(company), frames] for company, frames in tracker.companies.items()],
        "alive": [track.number for track in tracker.alive],
    }


def analysis_from_json(
    fields: Mapping[str, Any], last_record: FrameRecord, pack: ModelPack, similarity_th: float
) -> Analysis:
    """The analysis as it was.

    Args:
        fields: of `analysis_to_json`.
        last_record: of the last frame that was analysed.
        pack, similarity_th: as they were.
    """
    tracks = [_track_from_json(number, track) for number, track in enumerate(fields["tracks"])]
    companies = Counter({frozenset(company): frames for company, frames in fields["companies"]})
    tracker = Tracker(pack.embedder, similarity_th, tracks, companies, [tracks[number] for number in fields["alive"]])
    last = fields["last_frame"]
    picture = None if last is None else np.array(last, np.uint8).reshape(*SMALL_SIZE[::-1], 3)
    cuts = CutDetector(picture, fields["changes"])
    summary = AnalysisSummary(**fields["summary"])
    return Analysis(pack, tracker, cuts, summary, [recorded.face for recorded in last_record.faces])


def _track_to_json(track: FaceTrack) -> dict[str, Any]:
    return {
        "sightings": [_sighting_to_json(sighting) for sighting in (track.first, track.last, track.best)],
        "sure_until": track.sure_until,
        "best_score": track.best_score,
        "embedding_sum": pack_array(track.embedding_sum),
        "counts": [track.disputed, track.faces, track.checks],
    }


def _track_from_json(number: int, fields: dict[str, Any]) -> FaceTrack:
    first, last, best = (_sighting_from_json(sighting) for sighting in fields["sightings"])
    embedding_sum = unpack_array(fields["embedding_sum"])
    return FaceTrack(
        number, first, last, best, fields["sure_until"], fields["best_score"], embedding_sum, *fields["counts"]
    )


def _sighting_to_json(sighting: Sighting) -> list[Any]:
    return [sighting.frame, sighting.pts, face_to_json(sighting.face), sighting.worth]


def _sighting_from_json(fields: list[Any]) -> Sighting:
    frame, pts, face, worth = fields
    return Sighting(frame, pts, face_from_json(face), worth)
