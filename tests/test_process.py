"""How the process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

PROGRAM = """
import threading, time
from utils.process import leave
threading.Thread(target=time.sleep, args=(60,), daemon={daemon}).start()
print("told")
leave({code})
"""


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("code", [0, 6, 130])
def test_a_thread_that_is_still_at_work_neither_holds_up_the_end_nor_changes_the_exit_code(daemon, code):
    program = PROGRAM.format(daemon=daemon, code=code)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "told\n", "")
