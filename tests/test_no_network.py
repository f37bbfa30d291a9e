"""Nothing leaves the machine: no process of a run talks to an internet address, whatever runs in it.

All command lines of the other tests run under the same guard, but for those of Ray.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT
from no_internet import CAN_GUARD, GUARD

pytestmark = pytest.mark.skipif(not CAN_GUARD, reason="needs seccomp, which Linux has")


def run_without_internet(*command, **options):
    return subprocess.run(
        [str(part) for part in command],
        preexec_fn=GUARD,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )


TALKS = {
    "connects": "socket.socket(socket.AF_INET).connect(('127.0.0.1', 9))",
    "connects by IPv6": "socket.socket(socket.AF_INET6).connect(('::1', 9))",
    "looks for a way": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))",
    "sends": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "sends by IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', 9))",
    "sends a message": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', 9))",
    "connects with room for more": "import ctypes; one = socket.socket(); "
    "address = b'\\2\\0\\0\\11\\x7f\\0\\0\\1' + bytes(120); ctypes.CDLL(None).connect(one.fileno(), address, 128)",
    "listens": "socket.create_server(('127.0.0.1', 0))",
}


@pytest.mark.parametrize("talk", TALKS)
def test_the_guard_kills_whoever_talks_to_the_internet(talk):
    child = f"import socket; {TALKS[talk]}"
    assert run_without_internet(sys.executable, "-c", child).returncode == -signal.SIGSYS
    grandchild = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode != 0)"
    assert run_without_internet(sys.executable, "-c", grandchild).returncode == 1


def test_the_guard_leaves_other_sockets_alone(tmp_path):
    harmless = f"""
import socket
one, other = socket.socketpair()
one.sendall(b"x")
socket.socket(socket.AF_INET6).bind(("::1", 0))
try:
    socket.socket(socket.AF_UNIX).connect({str(tmp_path / "none")!r})
except FileNotFoundError:
    print("done")
"""
    assert run_without_internet(sys.executable, "-c", harmless).stdout == "done\n"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--target_video", COLLINS_CLIP, "--out_video_name", "out.mp4"), 0),  # long enough for reports by the clock
        (("--target_image", COLLINS, "--out_dir", "out"), 0),
        (("--verify", COLLINS), 7),
    ],
    ids=["video", "photos", "verify"],
)
def test_no_process_of_a_run_talks_to_the_internet(tmp_path, flags, code):
    home = tmp_path / "home"
    home.mkdir()
    options = {"cwd": tmp_path, "env": {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home)}}
    done = run_without_internet(sys.executable, ROOT / "inference.py", "--source_paths", HOPPER, *flags, **options)
    assert done.returncode == code, done.stderr
    assert list(home.iterdir()) == [], "no library keeps an identity for its reports"


def test_the_guard_holds_for_the_ffmpeg_binary():
    from imageio_ffmpeg import get_ffmpeg_exe

    asked = run_without_internet(get_ffmpeg_exe(), "-v", "error", "-i", "http://127.0.0.1:9/none", "-f", "null", "-")
    assert asked.returncode == -signal.SIGSYS


ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_ray_knows_no_address_but_loopback(tmp_path):
    """Ray's processes talk to each other through sockets, so it is looked at where these go, and where they listen."""
    pytest.importorskip("ray")
    (tmp_path / "in").mkdir()
    shutil.copy(COLLINS, tmp_path / "in")
    watch = ("strace", "-f", "-qq", "-e", "trace=connect,bind,sendto,sendmsg", "-o", tmp_path / "calls")
    flags = (
        "--engine",
        "ray",
        "--target_image",
        tmp_path / "in",
        "--out_dir",
        tmp_path / "out",
        "--source_paths",
        HOPPER,
    )
    command = [str(part) for part in (*watch, sys.executable, ROOT / "inference.py", *flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text(errors="replace")
    addresses = {one or other for one, other in ADDRESS.findall(calls)}
    assert addresses, "Ray uses sockets"
    assert {one.removeprefix("::ffff:") for one in addresses} <= {"127.0.0.1", "::1"}
