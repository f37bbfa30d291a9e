"""The report: one HTML file to look at first, without scripts and with all its pictures inside, and contact sheets."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from utils.evaluate.figures import FIGURES, Figure
from utils.evaluate.sheets import CELL_PX, make_folder, sheets, write_on
from utils.evaluate.tables import (
    ScoredSwap,
    Table,
    compare_groups,
    groups_line,
    groups_table,
    judge_goals,
    means_table,
    verdict_table,
)
from utils.inference.records import Image

RESULTS = "results"  # folder of the swapped photos in a report folder: SET/SOURCE__TARGET.png
SETS_FILE = "sets.json"  # in a report folder: set -> folder of its photos
WORST = 10  # swaps that are shown for each figure
SWAPS_IN_A_ROW, SWAPS_ON_A_SHEET = 2, 12
JPEG_QUALITY = 85
STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1.5em; background: #fff; color: #111 }
table { border-collapse: collapse; margin: .5em 0 1.5em } td, th { border: 1px solid #bbb; padding: 2px 8px; text-align: left }
.no { background: #fdd } .yes { background: #dfd } .strips { display: flex; flex-wrap: wrap; gap: 8px }
figure { margin: 0 } figcaption { font-size: 12px } .strip { background-size: cover }
"""


@dataclass(frozen=True, eq=False)
class Shown:
    """A swap and its pictures side by side: source, target, result."""

    swap: ScoredSwap
    strip: Image


def write_report(path: Path, sets: Mapping[str, Sequence[Shown]], notes: Sequence[str] = ()) -> None:
    """Write `path`: for each set of photos its verdict, means, groups, and the worst swaps by every figure.

    Args:
        path: of the HTML file.
        sets: name -> its swaps.
        notes: sentences at the top.
    """
    parts = [f"<p>{html.escape(note)}</p>" for note in notes]
    styles: list[str] = []
    for number, (name, shown) in enumerate(sets.items()):
        styles += [style_of_strip(f"s{number}_{place}", swap.strip) for place, swap in enumerate(shown)]
        parts += _section(name, number, shown)
    path.write_text(page("Quality of swaps", parts, styles), encoding="utf-8")


def page(title: str, parts: Sequence[str], styles: Sequence[str]) -> str:
    """A whole HTML page."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}{"".join(styles)}</style>'
    return f"<!doctype html><html><head>{head}</head><body><h1>{html.escape(title)}</h1>{''.join(parts)}</body></html>"


def style_of_strip(name: str, strip: Image) -> str:
    """The CSS class of a picture: however often it is shown, it is stored once."""
    jpeg = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    size = f"width:{strip.shape[1]}px;height:{strip.shape[0]}px"
    return f".{name}{{{size};background-image:url(data:image/jpeg;base64,{base64.b64encode(jpeg).decode()})}}\n"


def html_table(table: Table) -> str:
    """A table; cells that say whether a goal is met are coloured."""
    colours = {"met": ' class="yes"', "NOT met": ' class="no"'}
    header, *rows = table
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    for row in rows:
        marks = [colours.get(cell, ' class="no"' if cell.endswith(" !") else "") for cell in row]
        lines.append("".join(f"<td{mark}>{html.escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def html_strips(strips: Sequence[tuple[str, str]]) -> str:
    """Pictures by their CSS class, each with what is said below it."""
    figures = (
        f'<figure><div class="strip {name}"></div><figcaption>{html.escape(text)}</figcaption></figure>'
        for name, text in strips
    )
    return f'<div class="strips">{"".join(figures)}</div>'


def rank_worst(swaps: Sequence[ScoredSwap], figure: Figure) -> list[int]:
    """Places of the swaps of which a figure could be measured, the worst first; only the noes if it is a matter of yes or no."""
    values = [figure.badness(figure.of(swap.score)) for swap in swaps]
    least = 0.0 if figure.best == "yes" else -math.inf
    return sorted((place for place, value in enumerate(values) if value > least), key=lambda place: -values[place])


def write_contact_sheets(out: Path, name: str, shown: Sequence[Shown]) -> None:
    """NAME_1.png, NAME_2.png, ... in `out`: all swaps, worst identity first; and worst/NAME_FIGURE.png, the worst by every figure."""
    ranked = sorted(shown, key=lambda one: -one.swap.score.to_source)
    strips = [
        write_on(
            one.strip,
            f"{one.swap.source} > {one.swap.target}  {one.swap.score.to_source:.2f}/{one.swap.score.to_target:.2f}",
        )
        for one in ranked
    ]
    for number, sheet in enumerate(sheets(strips, SWAPS_IN_A_ROW, SWAPS_ON_A_SHEET), start=1):
        cv2.imwrite(str(out / f"{name}_{number}.png"), sheet)
    folder, swaps = make_folder(out / "worst"), [one.swap for one in shown]
    for figure in FIGURES:
        strips = [
            write_on(shown[place].strip, _caption(swaps[place], figure)) for place in rank_worst(swaps, figure)[:WORST]
        ]
        for sheet in sheets(strips, SWAPS_IN_A_ROW, WORST):
            cv2.imwrite(str(folder / f"{name}_{figure.name}.png"), sheet)


def _section(name: str, number: int, shown: Sequence[Shown]) -> list[str]:
    swaps = [one.swap for one in shown]
    findings = compare_groups(swaps)
    parts = [f"<h2>{html.escape(name)}: {len(swaps)} swaps</h2>", html_table(verdict_table(judge_goals(name, swaps)))]
    parts += [html_table(means_table(swaps)), f"<p>{html.escape(groups_line(findings))}</p>"]
    if findings:
        parts.append(
            "<p>95 % bootstrap intervals over swaps; ! significant after Holm, ~ by the interval alone. "
            "Ratios are compared by how far from 1 they are, in logarithms.</p>"
        )
        parts.append(html_table(groups_table(findings)))
    parts.append(f"<p>Worst first: source, target, result ({CELL_PX} px each).</p>")
    for figure in FIGURES:
        worst = rank_worst(swaps, figure)[:WORST]
        if worst:
            captions = [(f"s{number}_{place}", _caption(swaps[place], figure)) for place in worst]
            parts += [f"<h3>{html.escape(name)}: worst by {html.escape(figure.title)}</h3>", html_strips(captions)]
    return parts


def _caption(swap: ScoredSwap, figure: Figure) -> str:
    return f"{swap.name}: {figure.text(figure.of(swap.score))}"
