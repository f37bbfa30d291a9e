"""How the process ends."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time

import pytest
from conftest import COLLINS, ROOT

from utils.errors import BadArgument, UnreadableInput
from utils.provenance.verify import verify
from utils.signals import INTERRUPTED


def python(program, *arguments):
    """Exit code, stdout and stderr of a program of our own."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


PROGRAM = """
import threading, time
from utils.process import leave
threading.Thread(target=time.sleep, args=(60,), daemon={daemon}).start()
print("told")
leave({code})
"""

INTERRUPTED_PROGRAM = """
import os, signal, sys
import inference
class Broken:
    def __set_name__(self, owner, name):  # Python makes a RuntimeError of what is raised here
        os.kill(os.getpid(), signal.SIGTERM)
def interrupted(*told):
    if sys.argv[2] == "class":
        type("Holder", (), {"attribute": Broken()})
    elif any(sys.argv[2] in str(one) for one in told):
        os.kill(os.getpid(), signal.SIGTERM)
setattr(inference, sys.argv[1], interrupted)
inference.leave(inference.main(sys.argv[3:]))
"""


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("code", [0, 6, 130])
def test_a_thread_that_is_still_at_work_neither_holds_up_the_end_nor_changes_the_exit_code(daemon, code):
    began = time.monotonic()
    assert python(PROGRAM.format(daemon=daemon, code=code)) == (code, "told\n", "")
    assert time.monotonic() - began < 20


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("function", "told"), [("build_parser", ""), ("refuse_batch_flags", "class"), ("note", "Total time")]
)
def test_a_signal_at_any_place_is_told_alike(tmp_path, function, told):
    flags = ["--target_image", COLLINS, "--out_image_name", tmp_path / "out.png"]
    code, _, messages = python(INTERRUPTED_PROGRAM, function, told, *flags)
    assert code == INTERRUPTED
    assert messages.splitlines()[-1] == "interrupted; no half-written file is left"
    assert "Traceback" not in messages


SWALLOWING_PROGRAM = """
import os, signal, time
import utils.process, utils.signals
utils.signals.TIDYING_S = 0.5
utils.process.prepare_process()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    pass
os.kill(os.getpid(), signal.SIGTERM)
print("at work", flush=True)
time.sleep(0.6)
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_signal_that_was_swallowed_can_be_repeated():
    assert python(SWALLOWING_PROGRAM) == (0, "at work\nended\n", "")


UNSAFE_PROGRAM = """
import os, signal, sys, time
import utils.process
from utils.signals import undisturbed
class Unsafe:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
    def find_spec(self, name, *more):
        os.kill(os.getpid(), signal.SIGINT)
        print("found", flush=True)
@undisturbed
def work():
    (lambda: os.kill(os.getpid(), signal.SIGINT))()
    time.sleep(0.1)
    print("worked", flush=True)
if sys.argv[2] == "False":
    del signal.setitimer
utils.process.prepare_process()
began = time.monotonic()
try:
    if sys.argv[1] == "an import":
        sys.meta_path.insert(0, Unsafe())
        import colorsys
    elif sys.argv[1] == "a finalizer":
        Unsafe()
    else:
        work()
    for _ in range(100):
        time.sleep(0.05)
except KeyboardInterrupt:
    sys.meta_path = []
    print("ended", time.monotonic() - began < 4, "colorsys" in sys.modules)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("timer", [True, False])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("a finalizer", "ended True False\n"),
        ("an import", "found\nended True True\n"),
        ("work that is not to be disturbed", "worked\nended True False\n"),
    ],
)
def test_a_signal_where_an_exception_does_harm_waits_a_moment(place, told, timer):
    assert python(UNSAFE_PROGRAM, place, timer) == (0, told, "")


SIGNING_PROGRAM = """
import io, os, signal, sys
from pathlib import Path
import utils.process
from utils.provenance.manifest import sign_file
from utils.provenance.marking import Marking
class SendingFile(io.FileIO):
    def readinto(self, buffer):
        os.kill(os.getpid(), signal.SIGINT)
        return super().readinto(buffer)
class SendingPath(type(Path())):
    def open(self, mode):
        return SendingFile(self)
utils.process.prepare_process()
plain = SendingPath(sys.argv[1])
try:
    sign_file(plain, Path(sys.argv[2]), plain, Marking())
    while True:
        pass
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_signal_while_c2pa_reads_a_file_waits_until_it_is_signed(tmp_path):
    signed = tmp_path / "signed.png"
    assert python(SIGNING_PROGRAM, COLLINS, signed) == (0, "ended\n", "")
    assert verify(signed).signature.failures == ()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null"], ids=["closed", "write-only"])
@pytest.mark.parametrize("flags", ["--target_image - --out_image_name out.png", "--jobs -"])
def test_a_stdin_that_gives_nothing_is_told_in_one_line(tmp_path, flags, redirection):
    command = f"{shlex.join([sys.executable, str(ROOT / 'inference.py')])} {flags} {redirection}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    (message,) = done.stderr.splitlines()
    assert done.returncode in (BadArgument.exit_code, UnreadableInput.exit_code)
    assert message.startswith("error: ") and "stdin" in message


WARNING_PROGRAM = """
import logging
from utils.process import tell_warnings
tell_warnings(quiet=False)
logging.getLogger("library").warning("%s is odd", "a\\nb\x1b[1m")
"""


def test_a_warning_takes_one_line_whatever_a_library_says():
    assert python(WARNING_PROGRAM) == (0, "", "warning: a\\nb\\x1b[1m is odd\n")


IMPORTING_PROGRAM = """
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, *more):
        if name == "utils.flags":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.path.insert(0, "")
runpy.run_path("inference.py", run_name="__main__")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interruption_of_the_imports_has_no_words():
    assert python(IMPORTING_PROGRAM) == (-signal.SIGINT, "", "")
