"""Kill a swap of a video at random points, resume it each time, and compare what comes out with an uninterrupted run.

    python -m utils.evaluate.interruptions VIDEO [--kills 20] [--seed 0]

The command line is run as a user would, and killed without warning (SIGKILL) after a random part of the time that a whole run takes; the
next run resumes. Whenever one gets to its end, its file is compared with the uninterrupted run's, byte by byte, and the next one begins
anew.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from utils.evaluate.unsigned import unsigned
from utils.flag_types import positive_int

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0 if every file was the same."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate.interruptions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--kills", type=positive_int, default=20, metavar="N", help="(default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the points in time (default: 0)")
    args = parser.parse_args(argv)
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole.mp4", Path(folder) / "resumed.mp4"
        started = time.perf_counter()
        if _swap(args.video, whole, None, "--quiet"):
            return 1
        whole_s = time.perf_counter() - started
        print(f"whole run: {whole_s:.1f} s")
        kills, finished, different = 0, 0, 0
        while kills < args.kills:
            limit_s: float | None = moments.uniform(0, whole_s)
            while (status := _swap(args.video, out, limit_s, "--quiet", "--resume")) is None:
                kills += 1
                print(f"killed after {limit_s:.1f} s ({kills} of {args.kills}); {_kept(out)}", flush=True)
                limit_s = moments.uniform(0, whole_s) if kills < args.kills else None
            if status:
                return 1
            finished += 1
            same = unsigned(out) == unsigned(whole)
            different += not same
            print(f"finished; {'the same file' if same else 'ANOTHER FILE'}", flush=True)
            out.unlink()
    print(f"{kills} kills, {finished} resumed runs finished, {different} of them another file than the whole run's")
    return 1 if different else 0


def _swap(video: Path, out: Path, limit_s: float | None, *flags: str) -> int | None:
    """Exit code of one run; None if it was killed after `limit_s`."""
    command = [sys.executable, str(ROOT / "inference.py"), "--target_video", str(video), "--out_video_name", str(out)]
    with subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return None


def _kept(out: Path) -> str:
    """What a killed run left behind."""
    segments = sum(1 for _ in out.parent.glob(".swap-*/segment_*.mp4"))
    checkpoints = sum(1 for _ in out.parent.glob(".swap-*/checkpoint.json"))
    return f"{segments} finished segments, {'a' if checkpoints else 'no'} checkpoint"


if __name__ == "__main__":
    sys.exit(main())
