"""Shell completion of the flags."""

from __future__ import annotations

from pathlib import Path

from utils.flags import build_parser
from utils.version import __version__


def completion(shell: str) -> str:
    """The script that makes a shell, `bash`, `zsh` or `tcsh`, complete the flags of `inference.py`."""
    import shtab

    parser = build_parser(__version__)
    for action in parser._actions:
        if action.type is Path or action.dest in ("source_paths", "target_faces_paths"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))
