"""Differences with bootstrap intervals, and what chance alone would do. Pure functions; always the same numbers.

Whether a group differs is told by shuffling who belongs to it, as the intervals of groups of a few swaps are too narrow; and by Holm's
correction where many groups and figures are looked at.

Source: Efron and Tibshirani, An introduction to the bootstrap, 1993; Holm, A simple sequentially rejective multiple test procedure, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 5000
SEED = 0
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference of means, and its bootstrap interval; NaN if it could not be measured."""

    value: float
    low: float
    high: float


UNKNOWN = Difference(np.nan, np.nan, np.nan)


def resample(count: int) -> NDArray[np.intp]:
    """(RESAMPLES, count) which of `count` swaps are drawn; the same for every figure, so that figures stay paired."""
    return np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))


def shuffle(count: int) -> NDArray[np.intp]:
    """(RESAMPLES, count) orders of `count` swaps; the same for every figure."""
    return np.random.default_rng(SEED).permuted(np.tile(np.arange(count), (RESAMPLES, 1)), axis=1)


def mean_difference(values: NDArray[np.floating], drawn: NDArray[np.intp]) -> Difference:
    """Mean of paired differences, (N,); those that are not finite are left out."""
    known = np.isfinite(values)
    return _summarise(values[known].mean(), _means(values, known[drawn], drawn)) if known.any() else UNKNOWN


def group_difference(values: NDArray[np.floating], inside: NDArray[np.bool_], drawn: NDArray[np.intp]) -> Difference:
    """Mean of `values`, (N,), of the swaps `inside` a group less that of all others; those that are not finite are left out."""
    known = np.isfinite(values)
    here, there = known & inside, known & ~inside
    if not here.any() or not there.any():
        return UNKNOWN
    means = _means(values, here[drawn], drawn) - _means(values, there[drawn], drawn)
    return _summarise(values[here].mean() - values[there].mean(), means)


def chance_of(values: NDArray[np.floating], inside: NDArray[np.bool_], orders: NDArray[np.intp]) -> float:
    """How often a group of shuffled swaps is at least as much above all others as the group `inside`."""
    values, inside = values[known := np.isfinite(values)], inside[known]
    if not inside.any() or inside.all():
        return 1.0
    shuffled = orders[known[orders]].reshape(len(orders), -1)  # without those that are left out
    places = np.cumsum(known) - 1
    sums = np.where(inside, values[places[shuffled]], 0).sum(1)
    # A sum tells as much as the difference of means, for groups of one size and one total.
    return (1 + int((sums >= values[inside].sum() - 1e-12).sum())) / (1 + len(orders))


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
    """(RESAMPLES,) means of the drawn values that are `counted`, (RESAMPLES, N); NaN where none is."""
    counts = counted.sum(1)
    totals = np.where(counted, values[drawn], 0).sum(1)
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _summarise(value: float, means: NDArray[np.float64]) -> Difference:
    low, high = np.nanquantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(float(value), float(low), float(high))
