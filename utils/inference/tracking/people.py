"""Who is on which track: decided once, when all tracks of a video are known, so that it holds from a track's first frame to its last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Embedding
from utils.inference.tracking.matching import cosine_similarities, match_faces
from utils.inference.tracking.tracks import FaceTrack, Sighting

CONFIDENT_MARGIN = 0.15  # above the threshold: such tracks teach what a person looks like in this video
SURE_SHARE = 1 / 3  # of the way from the detector's threshold to 1
TRUSTED_FRAMES = 25  # a shorter track, perhaps a face found twice, counts less beside a longer one
Company = frozenset[int]
"""Numbers of tracks that were in a frame together."""


@dataclass(frozen=True)
class Casting:
    """Who gets which source.

    Attributes:
        source_of_track: for the tracks that are swapped.
        best_similarity: of each person looked for to any track, in [-1, 1].
        whoever: whether everybody gets the same source, so that it does not matter who is on a track.
        left_out: how many people get no source, because there are not as many sources.
    """

    source_of_track: Mapping[int, int]
    best_similarity: tuple[float, ...] = ()
    whoever: bool = False
    left_out: int = 0


def cast_largest_first(
    faces: Sequence[FaceTrack], tracks: Sequence[FaceTrack], companies: Mapping[Company, int], similarity_th: float
) -> Casting:
    """The only source goes to the person with the largest face in the first frame that has a face.

    Args:
        faces: the tracks that are taken for faces.
        tracks, companies, similarity_th: see `cast_persons`.
    """
    if not faces:
        return Casting({})
    begun = min(track.first.frame for track in faces)
    largest = max((track for track in faces if track.first.frame == begun), key=lambda track: track.first.face.area)
    # The chosen track is the person, however short it is.
    return _cast(tracks, companies, [largest.embedding], similarity_th, _trust(tracks, certain=largest.number))


def cast_everybody(
    tracks: Sequence[FaceTrack], companies: Mapping[Company, int], source_count: int, similarity_th: float
) -> Casting:
    """Every face gets a source: the only one, or people get them in the order in which they appear, from left to right.

    Args:
        tracks: those that are taken for faces, by number.
        companies, similarity_th: see `cast_persons`.
        source_count: at least 1.
    """
    if source_count == 1:
        return Casting({track.number: 0 for track in tracks}, whoever=True)
    people = group_tracks(tracks, companies, similarity_th)
    chosen = {track: source for source, group in enumerate(people[:source_count]) for track in group}
    return Casting(chosen, left_out=max(0, len(people) - source_count))


def cast_persons(
    tracks: Sequence[FaceTrack], companies: Mapping[Company, int], persons: Sequence[Embedding], similarity_th: float
) -> Casting:
    """Find known persons among the tracks, at most one track a person and one person a track in any frame; person i gets source i.

    What the persons look like is refined with those tracks that are beyond doubt, and then looked for once more.

    Args:
        tracks: by number.
        companies: how many frames showed each set of tracks.
        persons: (D,) each.
        similarity_th: least cosine similarity, inclusive.
    """
    return _cast(tracks, companies, persons, similarity_th, _trust(tracks))


def _trust(tracks: Sequence[FaceTrack], certain: int | None = None) -> NDArray[np.float64]:
    """(T,) in (0, 1]: how much a track's similarity counts beside others'."""
    return np.array([1.0 if track.number == certain else min(track.faces / TRUSTED_FRAMES, 0.99) for track in tracks])


def _cast(
    tracks: Sequence[FaceTrack],
    companies: Mapping[Company, int],
    persons: Sequence[Embedding],
    similarity_th: float,
    trust: NDArray[np.float64],
) -> Casting:
    looks = [track.embedding for track in tracks]
    similarities = cosine_similarities(persons, looks)
    assigned = _assign(similarities, trust, companies, similarity_th + CONFIDENT_MARGIN)
    refined = [
        _mean([person, *(looks[track] for track, who in assigned.items() if who == number)])
        for number, person in enumerate(persons)
    ]
    similarities = np.maximum(similarities, cosine_similarities(refined, looks))
    best = tuple(float(row.max(initial=-1.0)) for row in similarities)
    return Casting(_assign(similarities, trust, companies, similarity_th), best)


def _assign(
    similarities: NDArray[np.float64],
    trust: NDArray[np.float64],
    companies: Mapping[Company, int],
    similarity_th: float,
) -> dict[int, int]:
    """Track -> person. A track that has to leave a person to another one, in any frame, is not that person in any frame.

    Args:
        similarities: (P, T).
        trust: (T,), see `_trust`.
        companies: as above.
        similarity_th: inclusive.
    """
    votes: dict[int, Counter[int]] = {}
    refused: set[tuple[int, int]] = set()
    weighed = similarity_th + (similarities - similarity_th) * trust
    for company, frames in companies.items():
        members = sorted(company)
        among = weighed[:, members]
        matched = match_faces(among, np.full(among.shape, similarity_th)) if among.size else {}
        for place, person in matched.items():
            votes.setdefault(members[place], Counter())[person] += frames
            refused.update((track, person) for track in members if track != members[place])
    chosen = {track: counter.most_common(1)[0][0] for track, counter in votes.items()}
    kept = {track: person for track, person in chosen.items() if (track, person) not in refused}
    for company in companies:  # where more than two are alike, votes of different frames may still contradict
        together = sorted(company & kept.keys(), key=lambda track: -weighed[kept[track], track])
        for place, track in enumerate(together):
            if kept[track] in [kept[better] for better in together[:place] if better in kept]:
                del kept[track]
    return kept


def group_tracks(tracks: Sequence[FaceTrack], companies: Iterable[Company], similarity_th: float) -> list[list[int]]:
    """The people of a video: sets of tracks that are one person, none of which were in a frame together.

    Returns:
        Sorted track numbers of each person; people in the order of their first frame, and from left to right within it.
    """
    together: dict[int, set[int]] = {}
    for company in companies:
        for member in company:
            together.setdefault(member, set()).update(company - {member})
    groups: list[list[int]] = []
    looks: list[Embedding] = []
    # The tracks that show their person best come first: they are what the others are compared with.
    for track in sorted(tracks, key=lambda track: -track.best.worth * min(track.checks, 4)):
        free = [not together.get(track.number, set()).intersection(group) for group in groups]
        similarities = cosine_similarities(looks, [track.embedding])[:, 0] if groups else np.zeros(0)
        similarities[~np.array(free, bool)] = -1.0
        best = int(similarities.argmax()) if groups else -1
        if best >= 0 and similarities[best] >= similarity_th:
            groups[best].append(track.number)
            looks[best] = looks[best] + track.embedding
        else:
            groups.append([track.number])
            looks.append(track.embedding)

    begin = {track.number: track.first for track in tracks}

    def first_place(group: list[int]) -> tuple[int, float]:
        first = begin[min(group)]
        return first.frame, float(first.face.box[0])

    return sorted((sorted(group) for group in groups), key=first_place)


@dataclass(frozen=True)
class FoundPerson:
    """One of the people of a target.

    Attributes:
        frames: first and last frame of every stretch in which the person was followed, in order.
        faces: number of frames with the face.
        best: where the face is seen best.
    """

    frames: tuple[tuple[int, int], ...]
    faces: int
    best: Sighting


def believable(tracks: Sequence[FaceTrack], det_thresh: float) -> list[FaceTrack]:
    """The tracks of a video that the detector was sure of once: an ear or the back of a head may pass its threshold, but hardly more.

    All of them where it was never sure.
    """
    sure = det_thresh + SURE_SHARE * (1 - det_thresh)
    return [track for track in tracks if track.best_score >= sure] or list(tracks)


def find_people(tracks: Sequence[FaceTrack], companies: Iterable[Company], similarity_th: float) -> list[FoundPerson]:
    """Everybody in a target, in the order of `group_tracks`, which is also that in which they get several sources."""
    people = []
    for group in group_tracks(tracks, companies, similarity_th):
        own = [track for track in tracks if track.number in group]
        frames = tuple(sorted((track.first.frame, track.last.frame) for track in own))
        best = max((track.best for track in own), key=lambda sighting: sighting.worth)
        people.append(FoundPerson(frames, sum(track.faces for track in own), best))
    return people


def _mean(vectors: Sequence[Embedding]) -> Embedding:
    units = [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]
    return np.mean(units, axis=0).astype(np.float32)
