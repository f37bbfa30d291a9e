"""Jobs on Ray give what one process gives, also when a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT

from utils.evaluate.unsigned import unsigned

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for workers in /proc")

SECONDS = 11  # more than one segment


def frames_of(path):
    with av.open(str(path)) as container:
        return [hash(bytes(frame.planes[0])) for frame in container.decode(video=0)]


def descendants_of(pid):
    """Processes below `pid`, with their command lines."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below, before = {pid}, set()
    while below != before:
        before = below
        below = below | {child for child, parent in parents.items() if parent in below}
    names = {}
    for child in below:
        try:
            names[child] = Path(f"/proc/{child}/cmdline").read_text()
        except OSError:
            continue
    return names


def test_photos_on_ray_are_those_of_one_process_and_a_broken_one_is_reported(command_line, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(COLLINS.read_bytes())
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    flags = (
        f"--source_paths={HOPPER}",
        f"--target_image={tmp_path / 'in'}",
        f"--out_dir={out}",
        "--out_pattern={target}",
    )
    finished = command_line(*flags, "--engine=ray", "--workers=1", "--json", guarded=False)
    assert finished.returncode == 10, finished.stderr
    (told,) = (json.loads(line) for line in finished.stdout.splitlines())
    assert (told["output"], told["faces"]) == (f"{out}/a.png", 1)
    assert "b.png' is not a picture" in finished.stderr
    on_ray = unsigned(out / "a.png")
    assert command_line(*flags).stdout == "", "what Ray has made is there"
    assert command_line(*flags, "--overwrite").returncode == 10
    assert unsigned(out / "a.png") == on_ray


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_the_frames_are_those_of_one_process(command_line, tmp_path):
    clip = tmp_path / "clip.mkv"
    loop = [
        av_ffmpeg(),
        "-v",
        "error",
        "-stream_loop",
        "-1",
        "-i",
        COLLINS_CLIP,
        "-t",
        str(SECONDS),
        "-vf",
        "scale=192:-2",
    ]
    subprocess.run([*loop, "-an", clip], check=True)
    alone = tmp_path / "alone.mp4"
    assert (
        command_line(f"--source_paths={HOPPER}", f"--target_video={clip}", f"--out_video_name={alone}").returncode == 0
    )
    assert len(frames_of(alone)) > 250
    jobs = [
        {"target_video": str(clip), "out_video_name": "out/clip.mp4"},
        {"target_image": str(COLLINS), "out_image_name": "out/photo.png"},
        {"target_image": str(tmp_path / "none.png"), "out_image_name": "out/none.png"},
    ]
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs), encoding="utf-8")
    flags = [f"--source_paths={HOPPER}", "--jobs=jobs.jsonl", "--engine=ray", "--workers=2", "--json"]
    command = [sys.executable, str(ROOT / "inference.py"), *flags]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 90
        while not list(tmp_path.glob("out/.swap-*/planned.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        workers = [pid for pid, name in descendants_of(running.pid).items() if "ray::Actor" in name]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        told, errors = running.communicate(timeout=180)
    assert running.returncode == 10, errors
    assert sorted(json.loads(line)["output"] for line in told.splitlines()) == ["out/clip.mp4", "out/photo.png"]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["clip.mp4", "photo.png"]
    assert frames_of(tmp_path / "out" / "clip.mp4") == frames_of(alone)


def av_ffmpeg():
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
