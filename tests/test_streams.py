"""Results must arrive, notes may be lost, and neither ends in a traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COLLINS, ROOT

from utils.doctor import report
from utils.errors import UnwritableOutput
from utils.model_files import commands
from utils.model_files.table import files_named
from utils.streams import write_note, write_result, write_result_bytes

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
UNWRITABLE, UNREADABLE = 6, 3


def fill(monkeypatch):
    """Both streams take nothing; to be called in the test itself, since pytest gives each phase streams of its own."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, open("/dev/full", "w", buffering=1))  # noqa: SIM115, PTH123 - closed with the process


def downloaded(monkeypatch, root):
    """Tell of a file that was just downloaded."""
    finding = commands.look_at(files_named("sr")[0], root)
    monkeypatch.setattr(commands, "download", lambda files, root, options, tell: tell(finding))
    commands.download_named(["sr"], False, root)


TELLERS = {
    "a line": lambda *_: write_result("a line"),
    "bytes": lambda *_: write_result_bytes(b"bytes"),
    "a long text": lambda *_: write_result("long " * 10_000),
    "the listing": lambda _, root: commands.list_weights(root),
    "a download": downloaded,
    "the doctor": lambda patch, _: (patch.setattr("utils.doctor.examine", lambda: (["well"], ["ill"])), report()),
}


@pytest.mark.parametrize("case", TELLERS)
def test_what_a_full_stdout_does_not_take_is_told_in_one_line(monkeypatch, tmp_path, case):
    fill(monkeypatch)
    with pytest.raises(UnwritableOutput, match=r"cannot write to stdout .*No space left") as refused:
        TELLERS[case](monkeypatch, tmp_path)
    assert "\n" not in str(refused.value)
    sys.stdout.flush()  # what was not written is not tried again
    write_result("no more")


def test_a_stderr_that_takes_nothing_stops_nothing(monkeypatch):
    fill(monkeypatch)
    write_note("a note")


@pytest.mark.parametrize(
    ("flags", "redirection", "code"),
    [
        (("--print_completion", "bash"), ">/dev/full", UNWRITABLE),
        (("--verify", COLLINS, "--quiet"), ">/dev/full", UNWRITABLE),
        (("--print_completion", "bash"), "| head -c 1 >/dev/null", 0),
        (("--target_image", "none.png"), "2>/dev/full", UNREADABLE),
    ],
)
def test_streams_that_are_full_or_gone_end_as_documented(tmp_path, flags, redirection, code):
    command = shlex.join([sys.executable, str(ROOT / "inference.py"), *map(str, flags)])
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {redirection}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert len(ended.stderr.splitlines()) == (code == UNWRITABLE)


def test_a_result_that_cannot_be_told_is_told_to_be_done(tmp_path):
    out = tmp_path / "out.png"
    flags = ["--target_image", str(COLLINS), "--out_image_name", str(out), "--quiet"]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ended = subprocess.run(
            [sys.executable, "inference.py", *flags], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == UNWRITABLE
    assert ended.stderr.decode().endswith(f"; {os.fspath(out)!r} is done\n")
    assert out.exists()
