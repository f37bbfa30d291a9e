"""Nothing leaves the machine: no process of a swap opens an internet socket, whatever runs in it.

A seccomp filter, which all children inherit (a static ffmpeg, too), kills the process that asks for such a socket.
"""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys

import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
NUMBER_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 16  # of struct seccomp_data
SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
IPV4, IPV6 = 2, 10

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SOCKET_CALL, reason="needs seccomp, which Linux has"
)


def forbid_internet_sockets():
    """Let this process, and all that it starts, be killed when it asks for an internet socket; Unix sockets stay."""
    steps = [
        (LOAD, 0, 0, NUMBER_OFFSET),
        (JUMP_IF_EQUAL, 0, 4, SOCKET_CALL[platform.machine()]),
        (LOAD, 0, 0, FIRST_ARGUMENT_OFFSET),
        (JUMP_IF_EQUAL, 1, 0, IPV4),
        (JUMP_IF_EQUAL, 0, 1, IPV6),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0


def run_without_internet(*command, **options):
    return subprocess.run(
        [str(part) for part in command],
        preexec_fn=forbid_internet_sockets,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_the_guard_kills_whoever_opens_an_internet_socket(family):
    child = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM)"
    assert run_without_internet(sys.executable, "-c", child).returncode == -signal.SIGSYS
    grandchild = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode != 0)"
    assert run_without_internet(sys.executable, "-c", grandchild).returncode == 1
    harmless = "import socket; socket.socketpair()"
    assert run_without_internet(sys.executable, "-c", harmless).returncode == 0


@pytest.mark.parametrize(
    "flags",
    [
        ("--target_image", COLLINS, "--out_image_name", "out.png"),
        ("--target_video", COLLINS_CLIP, "--end", "4f", "--out_video_name", "out.mp4"),
        ("--target_video", COLLINS_CLIP, "--end", "4f", "--out_video_name", "out.mkv", "--codec", "hevc", "--label"),
        ("--target_image", COLLINS, "--out_dir", "out"),
        ("--target_image", COLLINS, "--list_faces", "people"),
        ("--list_weights",),
        ("--verify", COLLINS),
    ],
    ids=["photo", "video", "mkv", "batch", "faces", "weights", "verify"],
)
def test_no_process_of_a_run_opens_an_internet_socket(tmp_path, flags):
    done = run_without_internet(sys.executable, ROOT / "inference.py", "--source_paths", HOPPER, *flags, cwd=tmp_path)
    assert done.returncode == (7 if "--verify" in flags else 0), done.stderr


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
