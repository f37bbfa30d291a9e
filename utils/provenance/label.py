"""A small mark that people can see, at the bottom left of a picture or of every frame of a video."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from utils.inference.blending import Patch, WarpedFace, lay_over
from utils.inference.records import Image

TEXT = "AI MODIFIED"
BOX_HEIGHT = 0.045  # of the picture's shorter side: read at a glance, and about the size of a channel's logo
LEAST_HEIGHT_PX = 14
MARGIN = 0.5  # of the box's height, between it and the border, and left and right of the text
TEXT_SIZE = 0.62  # of the box's height
MOST_WIDTH = 0.9  # of the picture's width, margins included
BOX_OPACITY = 0.6
LETTER_WEIGHT = 600  # semi-bold: thin strokes are lost in small pictures
FINE = 8  # the text is drawn so much larger, and averaged down


def put_label(frame: Image, patch: Patch | None) -> Patch:
    """What became of a rectangle of a frame, with the label.

    Args:
        frame: (H, W, 3) BGR uint8; not modified.
        patch: what became of a part of it before; None if nothing did.

    Returns:
        The rectangle around both.
    """
    label = draw_label(*frame.shape[:2])
    parts: list[WarpedFace | Patch] = [label] if patch is None else [label, patch]
    top, left = (min(part.place[axis].start for part in parts) for axis in (0, 1))
    bottom, right = (max(part.place[axis].stop for part in parts) for axis in (0, 1))
    image = frame[top:bottom, left:right].copy()
    if patch is not None:
        image[replace(patch, left=patch.left - left, top=patch.top - top).place] = patch.image
    lay_over(image, replace(label, left=label.left - left, top=label.top - top))
    return Patch(left, top, image)


@lru_cache(maxsize=8)
def draw_label(height: int, width: int) -> WarpedFace:
    """The label for frames of this size, as it is laid over them: white letters on a dark, translucent box."""
    face = cv2.FontFace("sans")
    box_px = max(LEAST_HEIGHT_PX, round(BOX_HEIGHT * min(height, width)))
    _, _, text_width, _ = cv2.getTextSize((1, 1), TEXT, (0, 0), face, round(FINE * TEXT_SIZE * box_px), LETTER_WEIGHT)
    box_px = max(1, min(box_px, height, round(MOST_WIDTH * width / (text_width / FINE / box_px + 3 * MARGIN))))
    size_px = max(1, round(FINE * TEXT_SIZE * box_px))
    _, above, text_width, text_height = cv2.getTextSize((1, 1), TEXT, (0, 0), face, size_px, LETTER_WEIGHT)
    margin_px = round(MARGIN * box_px)
    box_width = min(width, round(text_width / FINE) + 2 * margin_px)
    canvas = np.zeros((FINE * box_px, FINE * box_width), np.uint8)
    origin = ((canvas.shape[1] - text_width) // 2, (canvas.shape[0] - text_height) // 2 - above)
    cv2.putText(canvas, TEXT, origin, (255,), face, size_px, LETTER_WEIGHT)
    letters = cv2.resize(canvas, (box_width, box_px), interpolation=cv2.INTER_AREA)
    weight = np.float32(BOX_OPACITY) + letters.astype(np.float32) / 255 * np.float32(1 - BOX_OPACITY)
    left, top = min(margin_px, width - box_width), max(0, height - margin_px - box_px)
    return WarpedFace(left, top, cv2.merge([letters] * 3), weight)
