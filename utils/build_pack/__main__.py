"""Command of the tool: rebuild the embedded pack from published packages."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from utils.build_pack.errors import BuildError
from utils.weights import BUILTIN_FOLDER


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, verify and write the pack; 0 if all went well, 1 with one line on the standard error if not."""
    parser = argparse.ArgumentParser(prog="python -m utils.build_pack", description=__doc__)
    parser.add_argument("--packages", type=Path, metavar="DIR", help="where the packages lie, or are fetched to")
    parser.add_argument("--out", type=Path, metavar="DIR", default=BUILTIN_FOLDER, help="where the pack goes")
    options = parser.parse_args(arguments)
    try:
        # Late, so that --help answers and a missing requirement is one line instead of a traceback.
        build = importlib.import_module("utils.build_pack.build").build
        with tempfile.TemporaryDirectory() as scratch:
            packages = options.packages or Path(scratch)
            packages.mkdir(parents=True, exist_ok=True)
            build(packages, options.out)
    except ImportError as error:
        print(f"{error}; install requirements-pack.txt first", file=sys.stderr)
        return 1
    except (BuildError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
