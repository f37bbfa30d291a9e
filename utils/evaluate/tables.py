"""Scored swaps as rows: written and read as CSV, summed up as a verdict on the goals and as a comparison of groups."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from utils.errors import UnreadableInput
from utils.evaluate.figures import FIGURES, FIGURES_BY_NAME, Goal, goals_of, mean_of, values_of
from utils.evaluate.intervals import Difference, chance_of, group_difference, holm, resample, shuffle
from utils.evaluate.judge import Score

Table: TypeAlias = list[list[str]]
"""Rows of cells, the first one the header."""

FEWEST_OF_A_GROUP = 3  # swaps; a smaller group has no interval to speak of
_FLAGS = {"True": True, "False": False, "": None}


@dataclass(frozen=True)
class ScoredSwap:
    """One swap: file names of its photos, the group of its target, and its figures."""

    source: str
    target: str
    group: str
    score: Score

    @property
    def name(self) -> str:
        """SOURCE__TARGET, without endings."""
        return f"{Path(self.source).stem}__{Path(self.target).stem}"


@dataclass(frozen=True)
class Verdict:
    """What a set of photos reaches of one goal."""

    goal: Goal
    value: float

    @property
    def text(self) -> str:
        """Whether the goal is met, in words."""
        return "not measured" if math.isnan(self.value) else "met" if self.goal.met(self.value) else "NOT met"


@dataclass(frozen=True)
class GroupFinding:
    """How much worse a group is served than all others in one figure; `sure` once the number of comparisons is allowed for."""

    group: str
    figure: str
    difference: Difference
    sure: bool


def write_rows(path: Path, swaps: Sequence[ScoredSwap]) -> None:
    """Write a CSV with a line for each swap."""
    names = [field.name for field in fields(Score)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "target", "group", *names])
        for swap in swaps:
            writer.writerow([swap.source, swap.target, swap.group, *(getattr(swap.score, name) for name in names)])


def read_rows(path: Path) -> list[ScoredSwap]:
    """Read what `write_rows` wrote.

    Raises:
        UnreadableInput: if the file is not there, or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                ScoredSwap(
                    row["source"],
                    row["target"],
                    row["group"],
                    Score(**{field.name: _parse(row[field.name]) for field in fields(Score)}),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise UnreadableInput(f"{str(path)!r} is no table of this evaluation; make the folder again") from error


def judge_goals(name: str, swaps: Sequence[ScoredSwap]) -> list[Verdict]:
    """What a set of photos reaches of each of its goals."""
    scores = [swap.score for swap in swaps]
    return [Verdict(goal, goal.value(values_of(scores, FIGURES_BY_NAME[goal.figure]))) for goal in goals_of(name)]


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each goal."""
    rows = [["goal", "value", "wanted", ""]]
    for verdict in verdicts:
        sign = ">=" if verdict.goal.summary == "share" else "<="
        value = "-" if math.isnan(verdict.value) else f"{verdict.value:.4g}"
        rows.append([verdict.goal.title, value, f"{sign} {verdict.goal.limit:g}", verdict.text])
    return rows


def means_table(swaps: Sequence[ScoredSwap]) -> Table:
    """Means of all figures: a column for all swaps and one for each group."""
    groups = sorted({swap.group for swap in swaps} - {""})
    columns = [("all", list(swaps)), *((group, [swap for swap in swaps if swap.group == group]) for group in groups)]
    header = ["mean of", *(f"{name} ({len(members)})" for name, members in columns)]
    return [
        header,
        *(
            [figure.title, *(figure.text(mean_of([swap.score for swap in members], figure)) for _, members in columns)]
            for figure in FIGURES
        ),
    ]


def compare_groups(swaps: Sequence[ScoredSwap]) -> list[GroupFinding]:
    """Each group of FEWEST_OF_A_GROUP swaps against all others, in how bad every figure is."""
    if not swaps:
        return []
    drawn, orders = resample(len(swaps)), shuffle(len(swaps))
    groups = np.array([swap.group for swap in swaps])
    findings, chances = [], []
    for group in sorted(set(groups.tolist()) - {""}):
        inside = groups == group
        if FEWEST_OF_A_GROUP <= inside.sum() < len(swaps):
            for figure in FIGURES:
                bad = np.array([figure.badness(figure.of(swap.score)) for swap in swaps])
                findings.append((group, figure.title, group_difference(bad, inside, drawn)))
                chances.append(chance_of(bad, inside, orders))
    sure = holm(chances)
    return [GroupFinding(*finding, sure=holds) for finding, holds in zip(findings, sure, strict=True)]


def groups_table(findings: Sequence[GroupFinding]) -> Table:
    """Group by figure: how much worse than all others, with its interval; `!` if surely, `~` if the interval alone says so."""
    groups = sorted({finding.group for finding in findings})
    cells = {(finding.figure, finding.group): finding for finding in findings}
    rows = [["worse than all others by", *groups]]
    for figure in FIGURES:
        row = [figure.title]
        for group in groups:
            finding = cells[figure.title, group]
            gap = finding.difference
            mark = " !" if finding.sure else " ~" if gap.low > 0 else ""
            row.append("-" if math.isnan(gap.value) else f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{mark}")
        rows.append(row)
    return rows


def groups_line(findings: Sequence[GroupFinding]) -> str:
    """Which groups are served worse, in words."""
    if not findings:
        return "groups: none are labelled"
    sure = [f"{finding.group} in {finding.figure}" for finding in findings if finding.sure]
    return f"groups significantly worse ({len(findings)} comparisons, shuffled, one-sided, Holm at 5 %): {'; '.join(sure) or 'none'}"


def plain_text(table: Table) -> str:
    """A table in columns."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def _parse(text: str) -> Any:
    return _FLAGS[text] if text in _FLAGS else float(text)
