"""How different two colours look: CIEDE2000.

Source: Sharma, Wu and Dalal, The CIEDE2000 color-difference formula, Color Research and Application 30, 2005. Their numbers of equations
stand beside the lines; their published pairs are in the tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GREY_CHROMA_POWER = 25.0**7


def ciede2000(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Difference of CIELAB colours with kL = kC = kH = 1; about 1 is just noticeable, side by side.

    Args:
        first, second: (..., 3) L in 0..100, a, b; broadcast against each other.

    Returns:
        (...) float64, 0 for equal colours.

    >>> ciede2000(np.array([50.0, 2.6772, -79.7751]), np.array([50.0, 0.0, -82.7485])).round(4)
    np.float64(2.0425)
    """
    (light_1, a_1, b_1), (light_2, a_2, b_2) = (
        np.moveaxis(np.asarray(lab, np.float64), -1, 0) for lab in (first, second)
    )
    mean_chroma_7 = ((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2) ** 7  # 2, 3
    widening = 1.5 - 0.5 * np.sqrt(mean_chroma_7 / (mean_chroma_7 + GREY_CHROMA_POWER))  # 1 + G of 4
    a_1, a_2 = widening * a_1, widening * a_2  # 5
    chroma_1, chroma_2 = np.hypot(a_1, b_1), np.hypot(a_2, b_2)  # 6
    hue_1, hue_2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a_1, b_1), (a_2, b_2)))  # 7
    coloured = chroma_1 * chroma_2 > 0
    turn = np.where(coloured, (hue_2 - hue_1 + 180) % 360 - 180, 0.0)  # 10
    hue_step = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(np.radians(turn / 2))  # 11
    light, chroma = (light_1 + light_2) / 2, (chroma_1 + chroma_2) / 2  # 12, 13
    around = np.where(np.abs(hue_1 - hue_2) > 180, np.where(hue_1 + hue_2 < 360, 360.0, -360.0), 0.0)
    hue = np.where(coloured, (hue_1 + hue_2 + around) / 2, hue_1 + hue_2)  # 14

    def cosine(times: int, offset_deg: float) -> NDArray[np.float64]:
        return np.asarray(np.cos(np.radians(times * hue + offset_deg)))

    hue_weight = (
        1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
    )  # T of 15
    blue_turn = 30 * np.exp(-(((hue - 275) / 25) ** 2))  # 16
    blue_size = 2 * np.sqrt(chroma**7 / (chroma**7 + GREY_CHROMA_POWER))  # 17
    light_scale = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)  # 18
    light_term = (light_2 - light_1) / light_scale
    chroma_term = (chroma_2 - chroma_1) / (1 + 0.045 * chroma)  # 19
    hue_term = hue_step / (1 + 0.015 * chroma * hue_weight)  # 20
    turned = -np.sin(np.radians(2 * blue_turn)) * blue_size * chroma_term * hue_term  # 21
    return np.asarray(np.sqrt(np.maximum(light_term**2 + chroma_term**2 + hue_term**2 + turned, 0)))  # 22
