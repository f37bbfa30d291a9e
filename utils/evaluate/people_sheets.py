"""Sheets of a clip's labelled frames, with the labels and the swaps drawn in, to be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.errors import UnwritableOutput
from utils.evaluate.people_scores import Choice, covered_face
from utils.evaluate.truth import ClipTruth
from utils.inference.frame_records import FrameRecord
from utils.inference.records import Image, Points

CELL_WIDTH_PX, CELLS_IN_A_ROW = 320, 5
LABEL_COLOUR, CROWD_COLOUR = (255, 255, 255), (160, 160, 160)
RIGHT_COLOUR, WRONG_COLOUR, NUMBER_COLOUR = (0, 220, 0), (0, 0, 255), (0, 255, 255)


def sheet_of(images: Iterable[Image], truth: ClipTruth, records: Sequence[FrameRecord], choice: Choice) -> Image:
    """All labelled frames: labels white, the crowd grey, swaps green where they belong and red elsewhere.

    Args:
        images: (H, W, 3) BGR uint8, all frames of the clip in order.
        truth: its labels, of one frame at least.
        records: planned, one for each frame.
        choice: who was to be replaced.
    """
    cells = [
        cell_of(image, truth, record, choice)
        for image, record in zip(images, records, strict=True)
        if record.index in truth.faces
    ]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % CELLS_IN_A_ROW)
    rows = [cells[first : first + CELLS_IN_A_ROW] for first in range(0, len(cells), CELLS_IN_A_ROW)]
    return np.vstack([np.hstack(row) for row in rows])


def cell_of(image: Image, truth: ClipTruth, record: FrameRecord, choice: Choice) -> Image:
    """One labelled frame, `CELL_WIDTH_PX` wide."""
    scale = CELL_WIDTH_PX / image.shape[1]
    cell = cv2.resize(image, (CELL_WIDTH_PX, round(scale * image.shape[0])), interpolation=cv2.INTER_AREA)
    for box in truth.ignored.get(record.index, ()):
        draw_box(cell, box * scale, CROWD_COLOUR)
    for face in truth.faces[record.index]:
        draw_box(cell, face.box * scale, LABEL_COLOUR, face.person)
    for source, recorded in record.swaps:
        there = covered_face(recorded.face.box, truth.faces[record.index])
        right = there is not None and choice.gets(there.person, source)
        draw_box(cell, recorded.face.box * scale, RIGHT_COLOUR if right else WRONG_COLOUR)
    cv2.putText(cell, str(record.index), (4, 14), cv2.FONT_HERSHEY_PLAIN, 1.0, NUMBER_COLOUR, 1, cv2.LINE_AA)
    return cell


def draw_box(image: Image, box: Points, colour: tuple[int, int, int], name: str = "") -> None:
    """Draw a box (4,) with a name into `image`."""
    left, top, right, bottom = (round(float(side)) for side in box)
    cv2.rectangle(image, (left, top), (right, bottom), colour, 1)
    cv2.putText(image, name, (left + 2, bottom - 3), cv2.FONT_HERSHEY_PLAIN, 0.9, colour, 1, cv2.LINE_AA)


def write_sheet(path: Path, sheet: Image) -> None:
    """Write a PNG.

    Raises:
        UnwritableOutput: if the folder cannot be made or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())
    except OSError as error:
        raise UnwritableOutput(f"cannot write {str(path)!r} ({error.strerror}); choose another --out") from error
