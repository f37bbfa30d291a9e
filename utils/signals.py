"""How signals end a run: like the first Ctrl-C, with everything tidied up, wherever they break in."""

from __future__ import annotations

import _thread
import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TypeVar

INTERRUPTED = 130  # exit code
TIDYING_S = 10.0  # after a signal
RETRY_S = 0.02
SIGNALS = [  # SIGALRM is our own
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGALRM") if hasattr(signal, name)
]
_UNDISTURBED: set[CodeType] = set()
Function = TypeVar("Function", bound=Callable[..., object])


def catch_signals() -> None:
    """Let the signals that end us raise `KeyboardInterrupt`, once, and where nothing else is harmed or swallows it."""
    interrupter = _Interrupter()
    for number in SIGNALS:
        if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks
            signal.signal(number, interrupter.interrupt)
    sys.unraisablehook = interrupter.take_up


def ignore_signals() -> None:
    """Nothing interrupts us any more: the rest is short, and must not be taken for a failure."""
    if threading.current_thread() is threading.main_thread():  # the one that may say so
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def is_interruption(error: BaseException | None) -> bool:
    """Whether an error is a `KeyboardInterrupt` or came of one: it breaks in anywhere, and libraries make errors of their own of it.

    >>> is_interruption(KeyboardInterrupt()), is_interruption(ValueError())
    (True, False)
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def undisturbed(function: Function) -> Function:
    """Let signals wait until a function is over: for native code that calls Python back, where an exception would abort the process."""
    _UNDISTURBED.add(function.__code__)
    return function


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Work that the next run takes up where an interruption ended it; the message says so."""
    try:
        yield
    except BaseException as error:
        if is_interruption(error):
            error.add_note("the same command goes on where it stopped")
        raise


class _Interrupter:
    """Python runs a signal's handler between any two steps of the main thread, also where an exception does harm."""

    def __init__(self) -> None:
        self._last = -math.inf

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise, unless the run is being tidied up; what may have swallowed the first signal does so to none that comes much later."""
        if time.monotonic() < self._last + TIDYING_S:
            return
        if _must_not_be_disturbed(frame):
            _call_again()
            return
        self._last = time.monotonic()
        raise KeyboardInterrupt

    def take_up(self, unraisable: sys.UnraisableHookArgs) -> None:
        """What was raised in a finalizer goes nowhere: raise it again."""
        if is_interruption(unraisable.exc_value):
            self._last = -math.inf
            _call_again()
        else:
            sys.__unraisablehook__(unraisable)


def _must_not_be_disturbed(frame: FrameType | None) -> bool:
    while frame is not None:
        # An import that is broken into may hold its lock for ever.
        if frame.f_code in _UNDISTURBED or frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _call_again() -> None:
    """Have the signals' handler called again soon."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, RETRY_S)
    else:
        threading.Timer(RETRY_S, _thread.interrupt_main).start()
