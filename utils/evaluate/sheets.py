"""Pictures of swaps to be looked at: cells around a face, and contact sheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.errors import UnwritableOutput
from utils.inference.alignment import warp_antialiased
from utils.inference.records import Face, Image

CELL_PX = 256
AROUND_FACE = 1.35  # side of a cell in the longer side of the face's box


def portrait(image: Image, face: Face) -> Image:
    """(CELL_PX, CELL_PX, 3) around a face."""
    left, top, right, bottom = face.box
    scale = CELL_PX / (AROUND_FACE * max(right - left, bottom - top))
    centre = np.array([(left + right) / 2, (top + bottom) / 2 - 0.08 * (bottom - top)])
    frame_to_cell = np.array([[scale, 0, CELL_PX / 2 - scale * centre[0]], [0, scale, CELL_PX / 2 - scale * centre[1]]])
    return warp_antialiased(image, frame_to_cell, (CELL_PX, CELL_PX), cv2.BORDER_REPLICATE)


def write_on(picture: Image, text: str) -> Image:
    """A copy of a picture with a line of text at its lower edge."""
    return cv2.putText(
        picture.copy(), text, (4, picture.shape[0] - 6), cv2.FONT_HERSHEY_PLAIN, 0.9, (0, 255, 255), 1, cv2.LINE_AA
    )


def sheets(strips: Sequence[Image], in_a_row: int, on_a_sheet: int) -> Iterator[Image]:
    """Sheets of equally large strips, in order; the last one is filled up with black."""
    for first in range(0, len(strips), on_a_sheet):
        cells = list(strips[first : first + on_a_sheet])
        cells += [np.zeros_like(cells[0])] * (-len(cells) % in_a_row)
        yield np.vstack([np.hstack(cells[place : place + in_a_row]) for place in range(0, len(cells), in_a_row)])


def make_folder(path: Path) -> Path:
    """Make a folder for results.

    Raises:
        UnwritableOutput: if that cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableOutput(f"cannot make the folder {str(path)!r} ({error.strerror}); choose another") from error
    return path
