"""Errors that a user can do something about.

Each carries one line (what, where, remedy) and the documented exit code of the command line. Anything else that is raised is a defect.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""The text with line ends and whatever else cannot be printed as Python writes them: names of files may hold anything, and so
    may messages of libraries that repeat them.

    >>> print(one_line("no\nface\x1b[1m.png"))
    no\nface\x1b[1m.png
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class SwapError(Exception):
    """A failure with a remedy; `exit_code` is what the command line returns for it."""

    exit_code = 1


class BadArgument(SwapError):
    """Arguments that contradict each other or make no sense."""

    exit_code = 2


class UnreadableInput(SwapError):
    """A file that is missing, empty, damaged or of an unknown kind."""

    exit_code = 3


class NoFaceFound(SwapError):
    """No face where one is needed, or the chosen person never appears."""

    exit_code = 4


class ModelFileError(SwapError):
    """A model file that is missing, damaged or foreign."""

    exit_code = 5


class UnwritableOutput(SwapError):
    """A result that cannot be written: folder, permission, disk full, format."""

    exit_code = 6


class OutOfMemory(SwapError):
    """Memory ran out, in whichever library."""

    exit_code = 9


class SomeFailed(SwapError):
    """Some of many jobs could not be done; each has said why."""

    exit_code = 10
