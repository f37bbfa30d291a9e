"""Differences with bootstrap intervals, and Holm's correction where many are looked at. Pure functions; always the same numbers.

Source: Efron and Tibshirani, An introduction to the bootstrap, 1993; Holm, A simple sequentially rejective multiple test procedure, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
SEED = 0
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference of means, its bootstrap interval, and the one-sided probability that it is not above 0."""

    value: float
    low: float
    high: float
    chance: float


def resample(count: int) -> NDArray[np.intp]:
    """(RESAMPLES, count) which of `count` swaps are drawn; the same for every figure, so that figures stay paired."""
    return np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))


def mean_difference(values: NDArray[np.floating], drawn: NDArray[np.intp]) -> Difference:
    """Mean of paired differences, (N,); NaN where a swap could not be measured."""
    known = np.isfinite(values)
    return _summarise(values[known].mean() if known.any() else np.nan, _means(values, known, drawn))


def group_difference(values: NDArray[np.floating], inside: NDArray[np.bool_], drawn: NDArray[np.intp]) -> Difference:
    """Mean of `values`, (N,), of the swaps `inside` a group less that of all others; NaN where a swap could not be measured."""
    known = np.isfinite(values)
    here, there = known & inside, known & ~inside
    if not here.any() or not there.any():
        return Difference(np.nan, np.nan, np.nan, 1.0)
    means = _means(values, here, drawn) - _means(values, there, drawn)
    return _summarise(values[here].mean() - values[there].mean(), means)


def holm(chances: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several findings hold at `level` all together.

    >>> holm([0.04, 0.001, 0.03])
    [False, True, False]
    """
    order = np.argsort(chances, kind="stable")
    holds = [False] * len(chances)
    for rank, index in enumerate(order):
        if chances[index] > level / (len(chances) - rank):
            break
        holds[index] = True
    return holds


def _means(values: NDArray[np.floating], counted: NDArray[np.bool_], drawn: NDArray[np.intp]) -> NDArray[np.float64]:
    """(RESAMPLES,) means of the drawn values that are `counted`; NaN where none is drawn."""
    weights = counted[drawn].astype(np.float64)
    totals = (np.where(counted, values, 0)[drawn] * weights).sum(1)
    counts = weights.sum(1)
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _summarise(value: float, means: NDArray[np.float64]) -> Difference:
    means = means[~np.isnan(means)]
    if not len(means):
        return Difference(np.nan, np.nan, np.nan, 1.0)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    chance = (1 + int((means <= 0).sum())) / (1 + len(means))
    return Difference(float(value), float(low), float(high), chance)
