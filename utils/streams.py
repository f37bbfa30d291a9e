"""What is written to stdout and stderr: results must arrive and notes may be lost, but neither ends in a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from utils.errors import UnwritableOutput, one_line


def write_result(text: object, stream: TextIO | None = None) -> None:
    """Print to stdout, or to what was stdout before something else took its place; nothing if nobody reads it any more.

    Raises:
        UnwritableOutput: if stdout takes nothing.
    """
    with _stdout_that_may_fail(stream):
        print(text, file=stream, flush=True)


def write_result_bytes(encoded: bytes) -> None:
    """Write a file to stdout; see `write_result`."""
    with _stdout_that_may_fail(None):
        sys.stdout.buffer.write(encoded)
        sys.stdout.buffer.flush()


def write_note(text: str) -> None:
    """Print one line to stderr; a terminal that is gone is no reason to stop."""
    with contextlib.suppress(OSError):
        print(one_line(text), file=sys.stderr)


@contextlib.contextmanager
def _stdout_that_may_fail(stream: TextIO | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _send_nowhere(stream or sys.stdout)
        if not isinstance(error, BrokenPipeError):  # whoever reads has seen enough, the work goes on
            raise UnwritableOutput(
                f"cannot write to stdout ({error.strerror or error}); free some space, or send it elsewhere"
            ) from error


def _send_nowhere(stream: TextIO) -> None:
    """What was not written yet, and all that comes, so that Python does not try it again when it ends."""
    with contextlib.suppress(OSError, ValueError):  # not one of the system's
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
