"""Two evaluations of the same photos side by side: the differences of every figure, and the swaps that changed most, to be looked at."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.errors import BadArgument, UnreadableInput
from utils.evaluate.figures import FIGURES, Figure
from utils.evaluate.intervals import mean_difference, resample
from utils.evaluate.report import RESULTS, SETS_FILE, SWAPS_IN_A_ROW, html_strips, html_table, page, style_of_strip
from utils.evaluate.sheets import CELL_PX, sheets, write_on
from utils.evaluate.tables import ScoredSwap, Table, plain_text, read_rows
from utils.inference.alignment import warp_antialiased
from utils.inference.records import Image
from utils.pictures import read_picture

MOST_CHANGED = 16  # swaps of each set that are shown
SAME = 1e-9  # a figure that changes by less has not
MARGIN = 0.12  # around what two results differ in

PairOfSwaps = tuple[ScoredSwap, ScoredSwap]


def compare_folders(first: Path, second: Path, out: Path) -> str:
    """Compare the sets of photos that two report folders share; writes compare.html and SET_changed.png into `out`.

    Returns:
        The tables, as text.

    Raises:
        UnreadableInput: if a folder is no report folder.
        BadArgument: if they share no swap.
    """
    places = [_sets_of(folder) for folder in (first, second)]
    texts, parts, styles = [], [f"<p>A: {html.escape(str(first))}<br>B: {html.escape(str(second))}</p>"], list[str]()
    for number, name in enumerate(sorted(set(places[0]) & set(places[1]))):
        pairs = _same_swaps(*(read_rows(folder / f"{name}.csv") for folder in (first, second)))
        if not pairs:
            continue
        table, title = differences_table(pairs), f"{name}: {len(pairs)} swaps in both"
        results = [folder / RESULTS / name for folder in (first, second)]
        changed = _most_changed(pairs, results)
        strips = [_strip(pair[0], Path(places[0][name]), results) for pair in changed]
        styles += [style_of_strip(f"c{number}_{place}", strip) for place, strip in enumerate(strips)]
        captions = [
            (f"c{number}_{place}", f"{pair[0].name}: {_what_changed(*pair)}") for place, pair in enumerate(changed)
        ]
        parts += [f"<h2>{html.escape(title)}</h2>", html_table(table)]
        parts += ["<h3>Changed most: source, target, A, B</h3>", html_strips(captions)]
        named = [write_on(strip, pair[0].name) for strip, pair in zip(strips, changed, strict=True)]
        for sheet in sheets(named, SWAPS_IN_A_ROW, MOST_CHANGED):
            cv2.imwrite(str(out / f"{name}_changed.png"), sheet)
        texts.append(f"{title}\n{plain_text(table)}")
    if not texts:
        raise BadArgument(f"{str(first)!r} and {str(second)!r} have no swap in common; evaluate the same folders twice")
    (out / "compare.html").write_text(page("Two evaluations", parts, styles), encoding="utf-8")
    return "\n".join(texts)


def differences_table(pairs: Sequence[PairOfSwaps]) -> Table:
    """A row for each figure: mean and median of both, mean of the differences with its interval, and how many got better or worse."""
    drawn = resample(len(pairs))
    rows = [["", "mean A", "mean B", "median A", "median B", "worse by (95 % interval)", "better", "worse"]]
    for figure in FIGURES:
        ours, theirs = (np.array([figure.of(pair[place].score) for pair in pairs]) for place in (0, 1))
        both = np.isfinite(ours) & np.isfinite(theirs)
        if not both.any():
            continue
        worse_by = _worse_by(figure, ours, theirs)
        change = mean_difference(worse_by, drawn)
        sure = " !" if change.low > 0 else " better" if change.high < 0 else ""
        means = (ours[both].mean(), theirs[both].mean(), np.median(ours[both]), np.median(theirs[both]))
        rows.append(
            [
                figure.title,
                *(figure.text(float(mean)) for mean in means),
                f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]{sure}",
                str(int((worse_by < -SAME).sum())),
                str(int((worse_by > SAME).sum())),
            ]
        )
    return rows


def _worse_by(figure: Figure, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(N,) by how much each swap got worse from `ours` to `theirs`: inf if it lost its face, NaN if it could not be measured."""
    first, second = (np.array([figure.badness(value) for value in values]) for values in (ours, theirs))
    with np.errstate(invalid="ignore"):
        return np.asarray(second - first)


def _sets_of(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / SETS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"{str(folder)!r} is no folder made by --out; evaluate photos into it first") from error


def _same_swaps(first: Sequence[ScoredSwap], second: Sequence[ScoredSwap]) -> list[PairOfSwaps]:
    others = {swap.name: swap for swap in second}
    return [(swap, others[swap.name]) for swap in first if swap.name in others]


def _most_changed(pairs: Sequence[PairOfSwaps], results: Sequence[Path]) -> list[PairOfSwaps]:
    """Those whose pictures differ most within what differs; swaps without both pictures are left out."""
    changes = []
    for pair in pairs:
        first, second = (cv2.imread(str(folder / f"{pair[0].name}.png")) for folder in results)
        if first is not None and second is not None and first.shape == second.shape:
            difference = cv2.absdiff(first, second).max(-1)
            if difference.any():
                changes.append((float(difference[difference > 0].mean()) * math.sqrt((difference > 0).mean()), pair))
    return [pair for _, pair in sorted(changes, key=lambda change: -change[0])[:MOST_CHANGED]]


def _strip(swap: ScoredSwap, photos: Path, results: Sequence[Path]) -> Image:
    """Source, target, A, B, cut to the face; a photo that is no longer there is black."""
    source, target = (
        read_picture(photos / name).bgr if (photos / name).is_file() else None for name in (swap.source, swap.target)
    )
    first, second = (np.asarray(cv2.imread(str(folder / f"{swap.name}.png"))) for folder in results)
    changed = cv2.absdiff(first, second if target is None else target)
    rows, columns = (np.flatnonzero(changed.max(-1).any(axis)) for axis in (1, 0))
    side = (1 + 2 * MARGIN) * max(rows[-1] - rows[0], columns[-1] - columns[0], 1)
    corner = np.array([columns[0] + columns[-1], rows[0] + rows[-1]]) / 2 - side / 2
    scale = CELL_PX / side
    frame_to_cell = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    cells = [np.zeros((CELL_PX, CELL_PX, 3), np.uint8) if source is None else _whole(source)]
    for picture in (target, first, second):
        cells.append(
            np.zeros_like(cells[0])
            if picture is None
            else warp_antialiased(picture, frame_to_cell, (CELL_PX, CELL_PX), cv2.BORDER_REPLICATE)
        )
    return np.hstack(cells)


def _whole(photo: Image) -> Image:
    """The middle square of a photo."""
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    return cv2.resize(photo[top : top + side, left : left + side], (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)


def _what_changed(first: ScoredSwap, second: ScoredSwap) -> str:
    """The figures of a swap in both, where they differ."""
    texts = []
    for figure in FIGURES:
        ours, theirs = figure.text(figure.of(first.score)), figure.text(figure.of(second.score))
        if ours != theirs:
            texts.append(f"{figure.name} {ours} > {theirs}")
    return "; ".join(texts)
