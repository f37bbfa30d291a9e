"""Names and files that mean something else to somebody: playlists, protocols, links, pipes, devices.

Nothing hangs, and no other file is read.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER
from media_makers import make_clip, run_ffmpeg

from utils.batch.patterns import named_files
from utils.errors import SwapError, UnreadableInput, UnwritableOutput
from utils.inference.video.options import VideoOptions
from utils.inference.video.probing import media_url
from utils.inference.video_processing import get_frames, read_target
from utils.pictures import read_picture

pytestmark = pytest.mark.skipif(os.name != "posix", reason="names and files of POSIX")

READABLE, SOME_FAILED = 0, 10
LONGEST_NAME = 255
NAMES = [
    "http:__host_x", "concat:a|b", "-i", "-x", "pipe:0", "fd:0", "data:,x", "subfile,,start,0,end,9,,:x", "crypto:x", "file:x",
    "a 'b' \"c\"", "new\nline", "$(touch made);`touch made`", "50%d", "*?[a]", "~", "a+b", "a;b", "n" * 200, "\udcff\udc80",
]  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    run_ffmpeg("-i", COLLINS_CLIP, "-an", "-vf", "crop=560:560:400:0,scale=200:200", "-frames:v", "2", path)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(COLLINS))[:400, 56:456], (200, 200)))
    return path


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_is_a_name(photo, clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(photo, f"./{name}.png")
    shutil.copy(clip, f"./{name}.mp4")
    assert read_picture(Path(f"{name}.png")).bgr.shape == (200, 200, 3)
    assert len(list(get_frames(read_target(Path(f"{name}.mp4"), VideoOptions())))) == 2
    assert media_url(Path(f"{name}.mp4")).startswith("file:/")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{name}.png", f"{name}.mp4"])


def test_names_go_through_the_command_line_to_the_result(command_line, photo, clip, tmp_path):
    name = "-x 'q\"\n$(touch made)|:50%d"
    shutil.copy(photo, tmp_path / f"{name}.png")
    shutil.copy(clip, tmp_path / f"{name}.mp4")
    (tmp_path / "out").mkdir()
    for kind, extension in (("image", "png"), ("video", "mp4")):
        flags = (f"--target_{kind}={name}.{extension}", f"--out_{kind}_name=out/{name}.{extension}")
        finished = command_line("--source_paths", HOPPER, *flags, "--quiet", folder=tmp_path)
        assert (finished.returncode, finished.stderr) == (READABLE, "")
    finished = command_line("--target_image", f"./{name}.png", "--out_dir", "many", "--quiet", folder=tmp_path)
    assert finished.returncode == READABLE, finished.stderr
    assert not (tmp_path / "made").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([f"{name}.png", f"{name}.mp4"])


ODD_NAME, SHOWN_NAME = "no\nface\x1b[1m", r"no\nface\x1b[1m"


@pytest.mark.parametrize(
    "flags",
    [
        ("--target_image", COLLINS, "--source_paths", f"{ODD_NAME}.png"),
        ("--target_image", f"{ODD_NAME}.png"),
        ("--out_image_name", f"{ODD_NAME}.xyz"),
        ("--target_image", COLLINS, "--out_dir", "out", "--out_pattern", f"../{ODD_NAME}"),
        ("--target_image", f"{ODD_NAME}.png", "--out_dir", "out"),
        (f"--{ODD_NAME}",),
        ("--strength", ODD_NAME),
    ],
    ids=range(7),
)
def test_messages_about_any_name_take_one_line(command_line, tmp_path, flags):
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    (tmp_path / f"{ODD_NAME}.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    finished = command_line(*flags, "--quiet", folder=tmp_path)
    assert SHOWN_NAME in finished.stderr
    assert "error: " in next(line for line in finished.stderr.splitlines() if SHOWN_NAME in line)
    assert "\nface" not in finished.stderr and "\x1b" not in finished.stderr


@pytest.mark.parametrize("extension", ["mp4", "ts", "mkv", "webm"])
def test_playlists_and_scripts_are_no_videos(clip, tmp_path, extension):
    shutil.copy(clip, tmp_path / "other.mp4")
    run_ffmpeg("-i", clip, "-c", "copy", tmp_path / "other.ts")
    scripts = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:4.0,\nother.ts\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile other.mp4\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
        "<BaseURL>other.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "subtitles": "1\n00:00:00,000 --> 00:00:01,000\n<img src=file:///etc/passwd>\n",
    }
    for name, script in scripts.items():
        path = tmp_path / f"{name}.{extension}"
        path.write_text(script, encoding="utf-8")
        with pytest.raises(UnreadableInput, match=path.name):
            read_target(path, VideoOptions())


def alias_record(target):
    """What QuickTime calls an alias to another file, by its absolute path, as libavformat reads it."""
    name = str(target).encode()
    head = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12) + bytes([len(target.name)])
    head += target.name.encode().ljust(63, b"\0") + bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    return head + struct.pack(">hh", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hh", -1, 0)


def test_a_movie_whose_frames_lie_in_another_file_does_not_read_it(tmp_path):
    whole = make_clip(tmp_path / "whole.mov", count=3)
    content = bytearray(whole.read_bytes())
    place = content.index(b"dref")
    old_size = struct.unpack_from(">I", content, place - 4)[0]
    record = alias_record(whole)
    dref = struct.pack(">I4sIII4sI", 28 + len(record), b"dref", 0, 1, 12 + len(record), b"alis", 0) + record
    content[place - 4 : place - 4 + old_size] = dref
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at = content.index(kind) - 4
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + len(dref) - old_size)
    data = content.index(b"mdat") + 4
    assert data < place, "so that places of frames stay"
    content[data : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - data)
    path = tmp_path / "refers.mov"
    path.write_bytes(content)
    with pytest.raises(UnreadableInput):
        list(get_frames(read_target(path, VideoOptions())))


@pytest.fixture
def odd_files(tmp_path):
    """Everything that has a name and is no file."""
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "to_fifo.png").symlink_to("fifo.png")
    (tmp_path / "dangling.png").symlink_to("nothing")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "socket.png"))
    return sorted(tmp_path.iterdir())


def test_what_is_no_file_is_neither_read_nor_waited_for(odd_files, tmp_path):
    for path in (
        *odd_files,
        tmp_path / ("n" * 5000),
        tmp_path / f"{'n' * LONGEST_NAME}%d.png",
        tmp_path / f"{'n' * 300}.webp",
    ):
        with pytest.raises(UnreadableInput):
            read_picture(path)
        with pytest.raises(UnreadableInput):
            read_target(path, VideoOptions())
        with pytest.raises(SwapError):
            assert not named_files(path / "*.png", [".png"])


def test_everything_but_files_ends_every_flag_in_one_line(command_line, odd_files, photo, tmp_path):
    fifo, loop = tmp_path / "fifo.png", tmp_path / "loop.png"
    many = ("--target_image", photo, "--out_dir", tmp_path / "out")
    for flags in (
        ("--jobs", fifo),
        ("--jobs", loop),
        ("--source_paths", fifo, "--target_image", photo),
        ("--target_faces_paths", tmp_path / "zero.png", "--target_image", photo),
        ("--pack", "ghost", "--G_path", fifo, "--target_image", photo),
        ("--target_image", photo, "--out_dir", loop),
        (*many, "--results", fifo),
        (*many, "--results", "/dev/zero"),
        ("--list_faces", loop, "--target_image", photo),
        ("--keep_frames", fifo, "--end", "2f"),
        (*many, "--out_pattern", "{number:9999999999d}"),
        ("--target_video", f"{tmp_path}/%09999999999d.png"),
    ):
        finished = command_line(*flags, "--quiet")
        assert finished.returncode in (2, 3, 5, 6, SOME_FAILED), (flags, finished.stderr)
        assert finished.stderr.count("error:") == 1, finished.stderr
        assert "Traceback" not in finished.stderr


def test_links_in_circles_are_not_followed(photo, tmp_path):
    deep = tmp_path / "a" / "b [x]"
    deep.mkdir(parents=True)
    for name in ("one", "two", "three"):
        (deep / name).symlink_to(tmp_path)
    shutil.copy(photo, deep / "photo.png")
    shutil.copy(photo, tmp_path / "top.png")
    (deep / ".hidden.png").touch()
    found = {deep / "photo.png", tmp_path / "top.png"}
    assert {*named_files(tmp_path / "**" / "*.png", [])} == found
    assert {*named_files(tmp_path / "**", [])} == found
    assert named_files(tmp_path / "**" / "b*" / "*.png", []) == [deep / "photo.png"]
    assert named_files(tmp_path / "*" / "**" / "p*", []) == [deep / "photo.png"]


def test_results_may_go_nowhere(tmp_path):
    from utils.batch.results import DONE, Outcome, Results

    results = Results(Path(os.devnull))
    results.add(Outcome("a.png", DONE))
    results.close()
    with pytest.raises(UnwritableOutput, match="not a plain file"):
        Results(Path("/dev/zero"))


def test_weights_that_are_no_file_are_told(odd_files):
    from models.checkpoints import read_checkpoint
    from utils.errors import ModelFileError

    for path in odd_files:
        with pytest.raises(ModelFileError, match=path.name):
            read_checkpoint(path)
