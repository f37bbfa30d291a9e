"""Faults that happen to a run, and what must hold whatever happens."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT

DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 9, 10, 130}
OLD = b"an older result"
TIMEOUT_S = 120
PHOTO = ("--target_image", str(COLLINS), "--out_image_name")
VIDEO = ("--target_video", str(COLLINS_CLIP), "--end", "60f", "--out_video_name")


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "inference.py"), "--source_paths", str(HOPPER), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    return subprocess.Popen(command, **pipes | options)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and messages; a run that hangs is an error."""
    try:
        _, messages = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    return process.returncode, messages


def limit(kind: int, value: int):
    """For `preexec_fn`: a limit of the process, and of its children."""
    return lambda: resource.setrlimit(kind, (value, value))


def wait_until(holds, process: subprocess.Popen[str], timeout_s: float = 60) -> bool:
    """Whether something came to hold while the process was running."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if holds():
                return True
        time.sleep(0.01)
    return False


def encoders_of(pid: int) -> list[int]:
    """The encoders among the processes below `pid`."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                if "rawvideo" in Path(f"/proc/{child}/cmdline").read_text():
                    found.append(int(child))
    return found


def kill_encoder(process: subprocess.Popen[str]) -> bool:
    """Kill the encoder of a run; whether there was one."""
    if not wait_until(lambda: encoders_of(process.pid), process):
        return False
    for child in encoders_of(process.pid):
        os.kill(child, signal.SIGKILL)
    return True


def is_told(code: int, messages: str) -> bool:
    """Whether a run ended with a documented exit code and words of its own."""
    return code in DOCUMENTED and "Traceback" not in messages and "internal error" not in messages
