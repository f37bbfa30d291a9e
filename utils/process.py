"""How the process meets its surroundings: signals, streams that are closed or know few letters, and its end."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType

from utils.errors import UnreadableInput

INTERRUPTED = 130  # exit code
ENDING_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]


def prepare_process(signals: bool = True) -> None:
    """Signals that end us do it like the first Ctrl-C, with everything tidied up; messages may hold any file name.

    Args:
        signals: False where they belong to somebody else.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for name in ENDING_SIGNALS:
            signal.signal(name, signal.SIG_IGN)  # a second one would break into the tidying up
        raise KeyboardInterrupt

    for name in ENDING_SIGNALS if signals else ():
        signal.signal(name, interrupt)
    # NumPy's products are small here: on several threads they take longer, and spin beside the other stages.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.filterwarnings("ignore", module="PIL")  # about metadata that is left out anyway
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # about damage that we tell in a line of our own
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for as long as the process lives
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def check_current_folder() -> None:
    """Refuse to work in a folder that was removed: no relative path means anything there.

    Raises:
        UnreadableInput: if it was.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UnreadableInput("the current folder is not there any more; change to another one") from error


def leave(code: int) -> None:
    """End the process. A thread that was called off may still be inside a library, and would crash Python's own way of ending."""
    if threading.current_thread() is threading.main_thread():
        for name in ENDING_SIGNALS:
            signal.signal(name, signal.SIG_IGN)  # all is done: what comes now must not turn it into a failure
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # gone, or closed by the reader
            stream.flush()
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)
