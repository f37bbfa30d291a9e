"""How the process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import COLLINS, ROOT

from utils.process import INTERRUPTED

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
    program = PROGRAM.format(daemon=daemon, code=code)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "told\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("function", "told"), [("build_parser", ""), ("refuse_batch_flags", "class"), ("note", "Total time")]
)
def test_a_signal_at_any_place_is_told_alike(tmp_path, function, told):
    flags = ["--target_image", COLLINS, "--out_image_name", tmp_path / "out.png"]
    command = [sys.executable, "-c", INTERRUPTED_PROGRAM, function, told, *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == INTERRUPTED
    assert done.stderr.splitlines()[-1] == "interrupted; no half-written file is left"
    assert "Traceback" not in done.stderr


SWALLOWING_PROGRAM = """
import os, signal, time
import utils.process
utils.process.TIDYING_S = 0.5
utils.process.prepare_process()
class Swallowing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
Swallowing()
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
    command = [sys.executable, "-c", SWALLOWING_PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "at work\nended\n")
    assert "KeyboardInterrupt" in done.stderr, "nothing was swallowed"
