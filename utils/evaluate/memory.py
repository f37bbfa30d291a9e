"""Peak memory of a swap by the length of the video.

    python -m utils.evaluate.memory VIDEO [--frames 200 2000]

The video is repeated to each length and swapped by the command line as a user runs it. Printed is the largest resident set of the process
and of the encoders that it starts, each by itself (POSIX only), and its ratio to the first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg

from utils.flag_types import positive_int
from utils.memory import MAXRSS_BYTES

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return the exit code of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate.memory", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument(
        "--frames", type=positive_int, nargs="+", default=[200, 2000], metavar="N", help="(default: 200 2000)"
    )
    args = parser.parse_args(argv)
    first_mb = None
    with tempfile.TemporaryDirectory() as folder:
        for count in args.frames:
            target, out = Path(folder) / f"{count}.mp4", Path(folder) / f"{count}_swapped.mp4"
            if _repeat(args.video, count, target):
                return 1
            status, peak_mb = _peak_of_swap(target, out)
            if status:
                return status
            first_mb = first_mb or peak_mb
            print(f"{count} frames: {peak_mb:.1f} MB, {peak_mb / first_mb:.2f} x", flush=True)
    return 0


def _repeat(video: Path, count: int, out: Path) -> int:
    """Write `count` frames of a video that begins again at its end; ffmpeg's exit code."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "-1", "-i", str(video)]
    return subprocess.run([*command, "-an", "-frames:v", str(count), str(out)], check=False).returncode


def _peak_of_swap(target: Path, out: Path) -> tuple[int, float]:
    """Exit code, and peak in megabytes."""
    command = [sys.executable, str(ROOT / "inference.py"), "--quiet", "--swap", "all", "--resume"]
    command += ["--target_video", str(target), "--out_video_name", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * MAXRSS_BYTES / 1e6


if __name__ == "__main__":
    sys.exit(main())
