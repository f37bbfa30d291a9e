"""Command of the tool: rebuild the embedded pack from published packages, or make the second identity net of evaluations."""

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
    parser.add_argument(
        "--second_net",
        type=Path,
        metavar="FILE.onnx",
        help="make this instead: the net for utils.evaluate --second_net",
    )
    options = parser.parse_args(arguments)
    try:
        # Late, so that --help answers and a missing requirement is one line instead of a traceback.
        module, name = ("second_net", "build_second_net") if options.second_net else ("build", "build")
        build = getattr(importlib.import_module(f"utils.build_pack.{module}"), name)
        with tempfile.TemporaryDirectory() as scratch:
            packages = options.packages or Path(scratch)
            packages.mkdir(parents=True, exist_ok=True)
            build(packages, options.second_net or options.out)
    except ImportError as error:
        print(f"{error}; install requirements-pack.txt first", file=sys.stderr)
        return 1
    except (BuildError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
