"""What the nets see of a picture whose numbers are not those of a usual display.

PQ (SMPTE ST 2084) spreads light up to 10,000 nits over its levels, so that a face has pale colours and hard contrasts to a net that was
trained on usual pictures. Such frames are viewed through a tone curve for each colour, and results come back through its inverse. HLG
needs none: its levels were made to look right on a usual display.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

PQ = 16  # H.273 transfer characteristics
WHITE_NITS = 203  # of diffuse white, ITU-R BT.2408
KNEE = 0.5  # of white; above, the curve bends towards its end
GAMMA = 2.2
# SMPTE ST 2084
PEAK_NITS = 10_000
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


@cache
def view_of_levels(transfer: int) -> NDArray[np.uint8] | None:
    """(256,) uint8: the level to show for every level of 8-bit RGB; None if they are shown as they are."""
    return np.rint(_pq_view()).astype(np.uint8) if transfer == PQ else None


@cache
def levels_of_view(transfer: int) -> NDArray[np.float32] | None:
    """(256,) float32: the level of 8-bit RGB for every level shown, with fractions; None if they are the same."""
    if transfer != PQ:
        return None
    return np.interp(np.arange(256), _pq_view(), np.arange(256)).astype(np.float32)


def _pq_view() -> NDArray[np.float64]:
    """(256,) strictly rising: the level shown for every PQ level."""
    root = (np.arange(256) / 255) ** (1 / M2)
    nits = PEAK_NITS * (np.maximum(root - C1, 0) / (C2 - C3 * root)) ** (1 / M1)
    light = nits / WHITE_NITS
    bent = KNEE + (1 - KNEE) * -np.expm1(-(light - KNEE) / (1 - KNEE))
    return 255 * np.where(light < KNEE, light, bent) ** (1 / GAMMA)
