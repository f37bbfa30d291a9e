"""`--benchmark`: runs the swap that the flags describe several times, each in a fresh process, and says what it took.

With a second setting the two alternate, since a machine's speed changes by the minute; what is printed are medians and their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.benchmark.flags import PRINT_ONLY, without_benchmark_flags
from utils.benchmark.report import as_text, summarise
from utils.errors import BadArgument, SwapError
from utils.files import finished_file
from utils.flags import build_parser
from utils.version import __version__

ROOT = Path(__file__).resolve().parents[2]
STRAIGHTFORWARD = ["straightforward"]
Complete = Callable[[argparse.Namespace], argparse.Namespace]


class BenchmarkFailed(SwapError):
    """A measured run ended with an error, which is its exit code; its own message is on stderr."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("the measured run failed, see above; the flags have to work without --benchmark, too")
        self.exit_code = max(exit_code, 1)  # a signal's number is negative


def run_benchmark(
    args: argparse.Namespace,
    argv: Sequence[str],
    complete: Complete,
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Measure what the flags say; show the report, and write the figures if asked.

    Args:
        args: all flags.
        argv: the same as they were given.
        complete: fills in what depends on other flags, and refuses what contradicts.
        show: takes the report, several lines of text.
        tell: takes lines about how far it is.

    Raises:
        BadArgument: if there is no swap to measure, or it would leave something behind.
        BenchmarkFailed: if a run fails.
        UnwritableOutput: if the figures cannot be written; the report has been shown.
    """
    if args.list_faces or args.doctor or args.export_onnx:
        raise BadArgument("--benchmark measures a swap; leave out --list_faces, --doctor and --export_onnx")
    flags = without_benchmark_flags(argv)
    settings = [flags]
    if args.compare is not None:
        settings.append(args.compare if args.compare == STRAIGHTFORWARD else [*flags, *args.compare])
    commands = [
        ("straightforward", flags) if setting == STRAIGHTFORWARD else ("together", setting) for setting in settings
    ]
    outputs = [_output_flags(complete(build_parser(__version__).parse_args(flags))) for _, flags in commands]
    runs: list[list[dict[str, Any]]] = [[] for _ in settings]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for number in range(args.rounds):
            order = range(len(settings)) if number % 2 == 0 else reversed(range(len(settings)))
            for place in order:
                tell(f"round {number + 1} of {args.rounds}, setting {place + 1} of {len(settings)}")
                runs[place].append(_round(*commands[place], outputs[place], Path(folder)))
    figures = summarise(settings, runs)
    show(as_text(figures))
    if args.benchmark != PRINT_ONLY:
        with finished_file(args.benchmark) as unfinished:
            unfinished.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _output_flags(args: argparse.Namespace) -> tuple[str, str]:
    """The flag that names the output, and the name that it has without its folder.

    Raises:
        BadArgument: if more outputs are asked for.
    """
    if args.video_options.keep_frames or args.video_options.matte:
        raise BadArgument("--benchmark keeps no result; leave out --keep_frames and --matte")
    return "--out_image_name" if args.image_to_image else "--out_video_name", args.out.name


def _round(how: str, flags: Sequence[str], output: tuple[str, str], folder: Path) -> dict[str, Any]:
    """One run as a user has it, and one with its stages apart; a straightforward run has nothing to take apart."""
    together, wall_s = _run(how, flags, output, folder)
    apart = together if how == "straightforward" else _run("apart", flags, output, folder)[0]
    return {"wall_s": wall_s, "together": together, "apart": apart}


def _run(how: str, flags: Sequence[str], output: tuple[str, str], folder: Path) -> tuple[dict[str, Any], float]:
    """What `utils.benchmark.run` measured, and the seconds of the whole process; what it wrote is gone."""
    name, file = output
    with tempfile.TemporaryDirectory(dir=folder) as place:
        figures_path = Path(place) / "figures.json"
        out = Path(place) / "result" / file
        # Without -P, a folder named utils in the working directory would be taken for ours.
        command = [sys.executable, "-P", "-m", "utils.benchmark.run", str(figures_path), how, *flags, name, str(out)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        started = time.perf_counter()
        status = subprocess.run(command, env=environment, check=False).returncode
        wall_s = time.perf_counter() - started
        if status:
            raise BenchmarkFailed(status)
        return json.loads(figures_path.read_text(encoding="utf-8")), wall_s
