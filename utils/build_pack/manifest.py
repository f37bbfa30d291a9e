"""Writes MANIFEST.json, which utils/weights.py reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from utils.build_pack.recipe import PACK_NAME, PACK_VERSION, Recipe


def manifest_text(contents: Mapping[str, bytes], recipes: Sequence[Recipe]) -> str:
    """The manifest of a pack.

    Args:
        contents: file name -> content, for every recipe.
        recipes: of the files, in the order of the manifest.
    """
    files = [_entry(recipe, contents[recipe.name]) for recipe in recipes]
    return json.dumps({"pack": PACK_NAME, "version": PACK_VERSION, "files": files}, indent=2) + "\n"


def _entry(recipe: Recipe, content: bytes) -> dict[str, object]:
    return {
        "name": recipe.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "source": _source(recipe),
        "licence": recipe.licence,
        "input": recipe.input,
        "output": recipe.output,
    }


def _source(recipe: Recipe) -> dict[str, str]:
    if recipe.package is None:
        return {"package": "this project", "version": PACK_VERSION, "member": recipe.name}
    package = recipe.package
    return {"package": f"{package.tool} {package.name}", "version": package.version, "member": recipe.members[0]}
