"""Reads the triangles of MediaPipe's face mesh out of its published JavaScript.

The script lists FACEMESH_TESSELATION as directed edges, three in a row going round one triangle.
"""

from __future__ import annotations

import json
import re

import numpy as np
from numpy.typing import NDArray

from utils.build_pack.errors import BuildError

TRIANGLES = 852
POINTS = 468
_EDGES = re.compile(r'"FACEMESH_TESSELATION",\s*(\[\[[\d,\[\]\s]*\]\])')


def triangles_of(script: str) -> NDArray[np.int64]:
    """Triangles of the mesh.

    Args:
        script: content of face_mesh.js.

    Returns:
        (852, 3) int64: indices of points, in the order and winding of the script.

    Raises:
        BuildError: if the list is missing, does not close into triangles, or winds two neighbours differently.
    """
    found = _EDGES.search(script)
    if found is None:
        raise BuildError("the script does not list FACEMESH_TESSELATION")
    edges = np.array(json.loads(found.group(1)), np.int64)
    if edges.shape != (3 * TRIANGLES, 2) or edges.min() < 0 or edges.max() >= POINTS:
        raise BuildError(f"FACEMESH_TESSELATION has the shape {edges.shape}, or points outside of the mesh")
    rounds = edges.reshape(TRIANGLES, 3, 2)
    if not np.array_equal(rounds[:, :, 1], np.roll(rounds[:, :, 0], -1, axis=1)):
        raise BuildError("the edges of FACEMESH_TESSELATION do not close into triangles")
    if len(np.unique(edges, axis=0)) != len(edges):
        raise BuildError("two triangles of FACEMESH_TESSELATION run along an edge in the same direction")
    return rounds[:, :, 0].copy()
