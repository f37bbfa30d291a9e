"""Networks that were converted for OpenVINO, kept in files beside their weights: `NAME.openvino/`.

What is stored is the network, not the code for one processor: compiling that takes no longer than reading it back would (1 s for AEI-Net),
and so neither precision nor processor can make a stored file the wrong one. As with the weights, a file of the size and time that were
noted counts as whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from utils.errors import ModelFileError
from utils.files import TEMPORARY_PREFIX
from utils.model_files.sidecar import read_sidecar, stamp_of
from utils.weights import sha256_of

FORMAT = 1  # raise it when a network's code changes what it computes: it makes all stored conversions old
GRAPH, VALUES, NOTE = "network.xml", "network.bin", "note.json"


def folder_of(weights: Path) -> Path:
    """Where the conversion of these weights lies."""
    return weights.with_name(weights.name + ".openvino")


def describe(weights: Path, **made_by: object) -> dict[str, object]:
    """All that a conversion depends on, as JSON has it: content of the weights, our code, and what else is named.

    Raises:
        ModelFileError: if the weights cannot be read.
    """
    return {"weights": _sha256(weights), "format": FORMAT} | made_by


def is_whole(folder: Path, wanted: dict[str, object]) -> bool:
    """Whether the folder holds the conversion that `wanted` describes, its files of the sizes and times that its note says."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        stamps = {name: list(stamp_of(folder / name)) for name in (GRAPH, VALUES)}
    except (OSError, ValueError):
        return False
    return bool(note == wanted | {"files": stamps})


def store(save: Callable[[Path], None], folder: Path, wanted: dict[str, object]) -> None:
    """Write a conversion under a temporary name, and rename it when it is complete.

    Args:
        save: writes it to this `GRAPH`, and its values to `VALUES` beside that.
        folder: from `folder_of`.
        wanted: from `describe`.

    Raises:
        OSError: if it cannot be written.
    """
    for left_over in folder.parent.glob(f"{TEMPORARY_PREFIX}{folder.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{folder.name}.", dir=folder.parent))
    try:
        try:
            save(temporary / GRAPH)
        except RuntimeError as error:  # how OpenVINO says that the disk is full
            raise OSError(str(error)) from error
        note = wanted | {"files": {name: stamp_of(temporary / name) for name in (GRAPH, VALUES)}}
        (temporary / NOTE).write_text(json.dumps(note), encoding="utf-8")
        temporary.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sha256(path: Path) -> str:
    """Checksum of a file: its sidecar's while size and time are those noted there, so that it need not be read.

    Raises:
        ModelFileError: if it cannot be read.
    """
    try:
        sidecar = read_sidecar(path)
    except (OSError, ValueError):
        sidecar = None
    try:
        return sidecar.sha256 if sidecar and sidecar.stamp == stamp_of(path) else sha256_of(path)
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise ModelFileError(f"{str(path)!r} {what}; download it again, or name another file") from error
