"""How the process meets its surroundings: signals, streams that are closed or know few letters, and its end."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from pathlib import Path

from utils.errors import UnreadableInput, one_line
from utils.memory import load_unwinder
from utils.signals import catch_signals, ignore_signals


def prepare_process(signals: bool = True) -> None:
    """Signals that end us do it like the first Ctrl-C, with everything tidied up; messages may hold any file name.

    Args:
        signals: False where they belong to somebody else.
    """
    if signals:
        catch_signals()
    load_unwinder()
    # NumPy's products are small here: on several threads they take longer, and spin beside the other stages.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.filterwarnings("ignore", module="PIL")  # about metadata that is left out anyway
    for library in ("tifffile", "c2pa"):  # about damage, or memory that ran out, which we tell in a line of our own
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for as long as the process lives
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def tell_warnings(quiet: bool) -> None:
    """Warnings go to stderr, one line each; where `quiet`, only what is worse does."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("warning: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.ERROR if quiet else logging.WARNING)


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
