"""How the process meets its surroundings: signals, streams that are closed or know few letters, and its end."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from utils.errors import UnreadableInput
from utils.memory import load_unwinder

INTERRUPTED = 130  # exit code
TIDYING_S = 10.0  # after a signal
ENDING_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]


def prepare_process(signals: bool = True) -> None:
    """Signals that end us do it like the first Ctrl-C, with everything tidied up; messages may hold any file name.

    Args:
        signals: False where they belong to somebody else.
    """

    last = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() < last + TIDYING_S:  # a second one would break into the tidying up
            return
        last = time.monotonic()  # one much later is meant: what the first one broke into may have swallowed it
        raise KeyboardInterrupt

    for number in ENDING_SIGNALS if signals else ():
        if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
            signal.signal(number, interrupt)
    load_unwinder()
    # NumPy's products are small here: on several threads they take longer, and spin beside the other stages.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.filterwarnings("ignore", module="PIL")  # about metadata that is left out anyway
    for library in ("tifffile", "c2pa"):  # about damage, or memory that ran out, which we tell in a line of our own
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for as long as the process lives
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def ignore_signals() -> None:
    """Nothing interrupts us any more: the rest is short, and must not be taken for a failure."""
    if threading.current_thread() is threading.main_thread():  # the one that may say so
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def is_interruption(error: BaseException | None) -> bool:
    """Whether an error is a `KeyboardInterrupt` or came of one: it breaks in anywhere, and libraries make errors of their own of it.

    >>> is_interruption(KeyboardInterrupt()), is_interruption(ValueError())
    (True, False)
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Work that the next run takes up where an interruption ended it; the message says so."""
    try:
        yield
    except BaseException as error:
        if is_interruption(error):
            error.add_note("the same command goes on where it stopped")
        raise


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
    ignore_signals()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # gone, or closed by the reader
            stream.flush()
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)
