"""Whatever happens to a run, it ends with one line and a documented exit code, and what was there before stays whole."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT
from faults import OLD, PHOTO, VIDEO, encoders_of, finish, is_told, kill_encoder, limit, start, wait_until
from imageio_ffmpeg import get_ffmpeg_exe

from utils.errors import BadArgument, ModelFileError, OutOfMemory, UnreadableInput
from utils.inference.face_swapper import FaceSwapper
from utils.memory import as_swap_error
from utils.provenance.verify import INTACT, verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc, and mounts")
DONE, UNREADABLE, UNWRITABLE, NO_MEMORY, INTERRUPTED = 0, 3, 6, 9, 130
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && printf "an older result" > "$3" && shift 3 && "$@"; code=$?; '
LOOK = 'ls -A "$PLACE"; cat "$PLACE"/old.*; exit $code'


def on_a_small_disk(size: str, place: Path, old: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run on a file system of this size, which is gone afterwards; stdout ends with what lies there and the older result."""
    place.mkdir()
    run = [sys.executable, ROOT / "inference.py", "--source_paths", HOPPER, "--quiet", *flags, place / old]
    script = ["sh", "-c", MOUNT + LOOK, "sh", size, place, place / old, *run]
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", *map(str, script)],
        env={**os.environ, "PLACE": str(place)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs user namespaces, to mount a small disk")
@pytest.mark.parametrize(
    ("size", "old", "flags"),
    [
        ("100k", "old.png", PHOTO),
        ("64k", "old.mp4", VIDEO),  # the records of the analysis
        ("700k", "old.mp4", VIDEO),  # the segment
        ("1300k", "old.mp4", VIDEO),  # the joined file, or the signed one
        ("1300k", "old.mkv", VIDEO),
    ],
)
def test_a_full_disk_ends_the_run_and_the_older_result_stays(tmp_path, size, old, flags):
    done = on_a_small_disk(size, tmp_path / "disk", old, *flags)
    assert done.returncode == UNWRITABLE, done.stderr
    assert done.stdout.endswith(OLD.decode())
    assert "space" in done.stderr and done.stderr.count("error:") == 1
    assert is_told(done.returncode, done.stderr)


def test_an_output_folder_that_is_removed_ends_the_run(tmp_path):
    folder = tmp_path / "out"
    process = start(*VIDEO, folder / "clip.mp4", "--quiet")
    assert wait_until(lambda: any(folder.glob(".swap-*/seen.jsonl")), process)
    shutil.rmtree(folder, ignore_errors=True)
    code, messages = finish(process)
    assert code == UNWRITABLE
    assert is_told(code, messages)


def test_an_encoder_that_is_killed_ends_the_run_and_the_next_goes_on(tmp_path):
    out = tmp_path / "clip.mp4"
    out.write_bytes(OLD)
    process = start(*VIDEO, out, "--quiet")
    assert kill_encoder(process)
    code, messages = finish(process)
    assert code == UNWRITABLE, messages
    assert "--resume" in messages and is_told(code, messages)
    assert out.read_bytes() == OLD
    code, messages = finish(start(*VIDEO, out, "--quiet", "--resume"))
    assert code == DONE, messages
    assert verify(out).exit_code == INTACT


@pytest.mark.parametrize("program", ["/none/ffmpeg", "/bin/true"])
def test_an_encoder_that_is_missing_or_does_nothing_is_told(tmp_path, program):
    out = tmp_path / "clip.mp4"
    code, messages = finish(start(*VIDEO, out, env={**os.environ, "IMAGEIO_FFMPEG_EXE": program}))
    assert code == UNWRITABLE
    assert "ffmpeg" in messages and is_told(code, messages)
    assert not out.exists()


@pytest.mark.parametrize("flags", [PHOTO, VIDEO], ids=["photo", "video"])
def test_memory_that_runs_out_is_told(tmp_path, flags):
    out = tmp_path / f"out{'.png' if flags is PHOTO else '.mp4'}"
    out.write_bytes(OLD)
    code, messages = finish(start(*flags, out, preexec_fn=limit(resource.RLIMIT_AS, 350 << 20)))
    assert code == NO_MEMORY
    assert "memory ran out" in messages and is_told(code, messages)
    assert out.read_bytes() == OLD


def test_every_librarys_words_for_no_memory_are_understood():
    loading = ModelFileError("damaged")
    loading.__cause__ = RuntimeError("std::bad_alloc")
    errors = [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 400 bytes"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        ImportError("libx265.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        loading,
    ]
    assert all(isinstance(as_swap_error(error), OutOfMemory) for error in errors)
    refused = BadArgument("cannot read 'out of memory.png'")
    assert as_swap_error(refused) is refused
    assert as_swap_error(ValueError("a defect")) is None


def test_a_target_that_changes_between_two_readings_is_told(tmp_path, pack, hopper):
    clip, other = tmp_path / "clip.mp4", tmp_path / "other.mp4"
    for path, start_s in ((clip, "0"), (other, "0.5")):
        part = ["-ss", start_s, "-i", str(COLLINS_CLIP), "-frames:v", "6"]
        subprocess.run([get_ffmpeg_exe(), "-v", "error", *part, "-an", str(path)], check=True)

    def exchange(items, description, total):
        yield from items
        if description == "analyse":
            other.replace(clip)

    swapper = FaceSwapper(pack, progress=exchange)
    with pytest.raises(UnreadableInput, match="changed while it was read"):
        swapper.swap_video(clip, tmp_path / "out.mp4", [swapper.identify(hopper, "hopper")])
    assert not (tmp_path / "out.mp4").exists()


def test_two_runs_for_one_photo_both_end_well(tmp_path):
    out = tmp_path / "out.png"
    processes = [start(*PHOTO, out, "--quiet") for _ in range(2)]
    assert [finish(process)[0] for process in processes] == [DONE, DONE]
    assert verify(out).exit_code == INTACT
    assert list(tmp_path.iterdir()) == [out]


def test_with_nohup_a_terminal_that_is_closed_ends_nothing(tmp_path):
    out = tmp_path / "out.mp4"
    process = start(*VIDEO, out, "--quiet", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert wait_until(lambda: encoders_of(process.pid), process)
    process.send_signal(signal.SIGHUP)
    assert finish(process) == (DONE, "")
    assert verify(out).exit_code == INTACT


def test_a_current_folder_that_was_removed_is_told(tmp_path):
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    run = [sys.executable, ROOT / "inference.py", "--target_image", COLLINS, "--out_image_name", tmp_path / "out.png"]
    done = subprocess.run(
        ["sh", "-c", command, "sh", *map(str, run)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == UNREADABLE
    assert done.stderr == "error: the current folder is not there any more; change to another one\n"


def test_few_open_files_and_closed_streams_are_enough(tmp_path):
    out = tmp_path / "clip.mkv"
    flags = (*VIDEO[:3], "6f", VIDEO[4], out, "--quiet")
    code, messages = finish(start(*flags, stdin=subprocess.DEVNULL, preexec_fn=limit(resource.RLIMIT_NOFILE, 40)))
    assert code == DONE, messages
    environment = {"PATH": os.environ["PATH"], "TMPDIR": "/none", "HOME": "/none"}
    code, messages = finish(start(*flags, env=environment, preexec_fn=lambda: os.close(0)))
    assert code == DONE, messages


def test_a_clock_that_was_wrong_costs_work_and_no_result(command_line, tmp_path):
    """A batch looks at times; a target from the future is swapped again, an output from the future is kept."""
    (tmp_path / "in").mkdir()
    shutil.copy(COLLINS, tmp_path / "in")
    flags = ("--source_paths", HOPPER, "--target_image", tmp_path / "in", "--out_dir", tmp_path / "out")
    target, out = tmp_path / "in" / COLLINS.name, tmp_path / "out" / f"{HOPPER.stem}_{COLLINS.name}"
    future = time.time() + 10_000_000
    os.utime(target, (future, future))
    for _ in range(2):
        assert command_line(*flags).stdout == f"{out}\n"
        assert verify(out).exit_code == INTACT
    os.utime(out, (future + 10, future + 10))
    assert command_line(*flags).stdout == ""


FAULTS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "encoder", "folder", "memory", "file size", "open files"]


def run_with_a_fault(fault: str, flags: tuple[str, ...], out: Path, moments: random.Random) -> tuple[int, str]:
    limits = {
        "memory": (resource.RLIMIT_AS, moments.randrange(150, 500) << 20),
        "file size": (resource.RLIMIT_FSIZE, moments.randrange(0, 400_000)),
        "open files": (resource.RLIMIT_NOFILE, moments.randrange(10, 40)),
    }
    process = start(*flags, out, preexec_fn=limit(*limits[fault]) if fault in limits else None)
    if fault == "encoder":
        kill_encoder(process)
    elif fault not in limits:
        wait_until(lambda: False, process, moments.uniform(0.1, 3 if flags is PHOTO else 6))
        if fault == "folder":
            shutil.rmtree(out.parent, ignore_errors=True)
        elif process.poll() is None:
            process.send_signal(getattr(signal, fault))
    return finish(process)


def is_whole(path: Path) -> bool:
    """Whether a file is the older result or a complete new one."""
    if path.read_bytes() == OLD:
        return True
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            frames = sum(1 for _ in container.decode(video=0))
        return frames == 60 and verify(path).exit_code == INTACT
    return cv2.imread(str(path)) is not None and verify(path).exit_code == INTACT


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_at_random_moments_damage_nothing(tmp_path, fault, record_property):
    moments = random.Random(fault)
    cases = crashes = damaged = 0
    for number in range(16):
        flags, name = (PHOTO, "out.png") if number % 2 else (VIDEO, "out.mp4")
        out = tmp_path / str(number) / name
        out.parent.mkdir()
        out.write_bytes(OLD)
        code, messages = run_with_a_fault(fault, flags, out, moments)
        cases += 1
        # Before Python has read the program, nobody can catch a signal.
        killed = fault.startswith("SIG") and code == -getattr(signal, fault) and (fault == "SIGKILL" or not messages)
        if not (killed or is_told(code, messages)):
            crashes += 1
            print(f"{fault}, {name}: {code}\n{messages}")
        if out.parent.exists() and fault != "folder":
            damaged += not is_whole(out)
    print(f"{fault}: {cases} cases, {crashes} crashes, 0 hangs, {damaged} files damaged")
    assert (crashes, damaged) == (0, 0)
