"""The figures by which swaps are judged, as data: what they are called, which way is better, and the goals of each set of photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from utils.evaluate.judge import Score

Badness: TypeAlias = Literal["low", "one", "yes"]
"""What is best: a low figure, one near 1, or a yes."""


@dataclass(frozen=True)
class Figure:
    """One figure of a `Score`: its attribute, its title in tables, its decimals, and what is best."""

    name: str
    title: str
    best: Badness
    decimals: int

    def of(self, score: Score) -> float:
        """The figure; a yes is 1, and NaN is what could not be measured."""
        value = getattr(score, self.name)
        return math.nan if value is None else float(value)

    def badness(self, value: float) -> float:
        """How bad a value is; 0 is perfect, where there is such a thing."""
        if self.best == "one":
            return abs(math.log(max(value, 1e-6))) if math.isfinite(value) else value
        return 1 - value if self.best == "yes" else value

    def text(self, value: float) -> str:
        """The value as it stands in tables."""
        return "-" if math.isnan(value) else f"{value:.{self.decimals}f}"


FIGURES = (
    Figure("to_source", "distance to source", "low", 3),
    Figure("to_other", "distance to the source's other photo", "low", 3),
    Figure("nearer_source", "nearer source", "yes", 3),
    Figure("retrieved", "retrieved", "yes", 3),
    Figure("second_nearer", "nearer source, second net", "yes", 3),
    Figure("mouth", "mouth", "low", 4),
    Figure("eye_right", "right eye", "low", 4),
    Figure("eye_left", "left eye", "low", 4),
    Figure("eye_symmetry", "left-right difference of the eyes", "low", 4),
    Figure("brow", "brows", "low", 4),
    Figure("gaze", "gaze", "low", 4),
    Figure("yaw_deg", "yaw, degrees", "low", 2),
    Figure("pitch_deg", "pitch, degrees", "low", 2),
    Figure("seam", "seam", "low", 3),
    Figure("edge_colour", "colour at the edge, CIEDE2000", "low", 2),
    Figure("sharpness", "sharpness", "one", 3),
    Figure("grain", "grain", "one", 3),
)
FIGURES_BY_NAME = {figure.name: figure for figure in FIGURES}


@dataclass(frozen=True)
class Goal:
    """What a set of photos is to reach.

    Attributes:
        figure: name of a figure.
        limit: the most that mean or median may be, or the least share of swaps that lie `within`.
        summary: mean, median or share.
        within: lowest and highest value that counts for a share.
    """

    figure: str
    limit: float
    summary: Literal["mean", "median", "share"] = "mean"
    within: tuple[float, float] = (1.0, 1.0)

    @property
    def title(self) -> str:
        """What is to be reached, in words."""
        title = FIGURES_BY_NAME[self.figure].title
        if self.summary == "share":
            low, high = self.within
            inside = "" if low == high == 1 else f" {low:g} to {high:g}" if low else f" <= {high:g}"
            return f"share with {title}{inside}"
        return f"{self.summary} of {title}"

    def value(self, values: NDArray[np.floating]) -> float:
        """What swaps with these values, (N,), reach; those that are NaN were not measured, and without others so is the goal."""
        values = values[~np.isnan(values)]
        if not len(values):
            return math.nan
        if self.summary == "share":
            low, high = self.within
            return float(((values >= low) & (values <= high)).mean())
        return float(values.mean() if self.summary == "mean" else np.median(values))

    def met(self, value: float) -> bool:
        """Whether `value` reaches the goal."""
        return value >= self.limit if self.summary == "share" else value <= self.limit


FINISH_GOALS = (
    Goal("seam", 0.9, "share", (0.0, 1.1)),
    Goal("sharpness", 0.9, "share", (0.8, 1.25)),
    Goal("grain", 0.9, "share", (0.8, 1.25)),
    Goal("edge_colour", 3.0, "median"),
)
_EXPRESSION = (Goal("mouth", 0.012), Goal("eye_right", 0.025), Goal("eye_left", 0.025), Goal("yaw_deg", 0.6))
GOALS: dict[str, tuple[Goal, ...]] = {  # by the name of the folder
    "london": (
        Goal("retrieved", 1.0, "share"),
        Goal("to_other", 0.40),
        Goal("second_nearer", 0.95, "share"),
        *_EXPRESSION,
        Goal("eye_symmetry", 0.95, "share", (0.0, 0.02)),
        *FINISH_GOALS,
    ),
    "congress": (
        Goal("retrieved", 1.0, "share"),
        Goal("to_other", 0.47),
        Goal("second_nearer", 0.95, "share"),
        *_EXPRESSION,
        Goal("eye_symmetry", 0.95, "share", (0.0, 0.05)),
        *FINISH_GOALS,
    ),
    "lfw": (
        Goal("retrieved", 0.90, "share"),
        Goal("nearer_source", 0.97, "share"),
        Goal("mouth", 0.020),
        Goal("eye_right", 0.035),
        Goal("eye_left", 0.035),
        *FINISH_GOALS,
    ),
}


def goals_of(name: str) -> tuple[Goal, ...]:
    """The goals of a set; those of the finish for one that has none of its own."""
    return GOALS.get(name, FINISH_GOALS)


def values_of(scores: Sequence[Score], figure: Figure) -> NDArray[np.float64]:
    """(N,) the figure of each swap; NaN where it could not be measured."""
    return np.array([figure.of(score) for score in scores], np.float64)


def mean_of(scores: Sequence[Score], figure: Figure) -> float:
    """Mean over the swaps of which it could be measured; NaN if there are none."""
    values = values_of(scores, figure)
    return math.nan if np.isnan(values).all() else float(np.nanmean(values))
