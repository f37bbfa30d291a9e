"""`--benchmark`: runs the swap that the flags describe several times, each in a fresh process, and says what it took.

With a second setting the two alternate, since a machine's speed changes by the minute; what is printed are medians and their ratios.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.benchmark.report import as_text, summarise
from utils.errors import SwapError
from utils.files import finished_file

STRAIGHTFORWARD = ["straightforward"]
ROOT = Path(__file__).resolve().parents[2]


class BenchmarkFailed(SwapError):
    """A measured run ended with an error, which is its exit code; its own message is on stderr."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("the measured run failed, see above; the flags have to work without --benchmark, too")
        self.exit_code = exit_code


def benchmark(
    flags: Sequence[str],
    other: Sequence[str] | None,
    rounds: int,
    is_photo: bool,
    figures_path: Path | None,
    tell: Callable[[str], None],
) -> str:
    """Measure.

    Args:
        flags: of the swap.
        other: flags of a second setting, which come after the first ones; None for none.
        rounds: how often each setting runs.
        is_photo: whether the target is a photo.
        figures_path: gets the figures as JSON; None for none.
        tell: takes lines about how far it is.

    Returns:
        The report, several lines of text.

    Raises:
        BenchmarkFailed: if a run fails.
        UnwritableOutput: if the figures cannot be written.
    """
    settings = (
        [list(flags)] if other is None else [list(flags), other if other == STRAIGHTFORWARD else [*flags, *other]]
    )
    runs: list[list[dict[str, Any]]] = [[] for _ in settings]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for number in range(rounds):
            order = range(len(settings)) if number % 2 == 0 else reversed(range(len(settings)))
            for place in order:
                tell(f"round {number + 1} of {rounds}, setting {place + 1} of {len(settings)}")
                if settings[place] == STRAIGHTFORWARD:
                    runs[place].append(_straightforward_round(flags, Path(folder)))
                else:
                    runs[place].append(_round(settings[place], is_photo, Path(folder)))
    figures = summarise(settings, runs)
    if figures_path is not None:
        with finished_file(figures_path) as unfinished:
            unfinished.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return as_text(figures)


def _straightforward_round(flags: Sequence[str], folder: Path) -> dict[str, Any]:
    figures, wall_s = _run("straightforward", [*flags, "--out_video_name", str(folder / "out.mp4")], folder)
    return {"wall_s": wall_s, "together": figures, "apart": figures}


def _round(flags: Sequence[str], is_photo: bool, folder: Path) -> dict[str, Any]:
    """One run as a user has it and one with its stages apart; nothing that they write is kept."""
    out = ["--out_image_name", str(folder / "out.png")] if is_photo else ["--out_video_name", str(folder / "out.mp4")]
    together, wall_s = _run("together", [*flags, *out], folder)
    apart, _ = _run("apart", [*flags, *out], folder)
    return {"wall_s": wall_s, "together": together, "apart": apart}


def _run(how: str, flags: Sequence[str], folder: Path) -> tuple[dict[str, Any], float]:
    """What `utils.benchmark.run` measured, and the seconds of the whole process."""
    figures_path = folder / "figures.json"
    command = [sys.executable, "-m", "utils.benchmark.run", str(figures_path), how, *flags]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    started = time.perf_counter()
    status = subprocess.run(command, env=environment, check=False).returncode
    wall_s = time.perf_counter() - started
    if status:
        raise BenchmarkFailed(status)
    return json.loads(figures_path.read_text(encoding="utf-8")), wall_s
