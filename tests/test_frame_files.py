"""Frames, faces and masks as picture files, from the command line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import COLLINS_CLIP
from test_command_line import BAD_ARGUMENT, DONE, OLD, UNWRITABLE, assert_fails

from utils.errors import BadArgument, UnwritableOutput
from utils.inference.video.frame_files import (
    FrameFiles,
    begin_publishing,
    check_places,
    check_room,
    check_room_in,
    frame_files,
)
from utils.inference.video.options import VideoOptions
from utils.inference.video_processing import get_frames, read_video
from utils.provenance.verify import INTACT, verify

PART = ("--start", "40f", "--end", "44f")
NAMES = [f"{number:06d}.png" for number in range(1, 5)]


def test_frames_faces_and_masks_are_written_and_give_the_result(command_line, tmp_path):
    frames, matte, out = tmp_path / "new" / "frames", tmp_path / "matte", tmp_path / "out.mp4"
    finished = command_line(
        *PART, "--keep_frames", frames, "--matte", matte, "--out_video_name", out, "--crf", 0, "--strength", 0.7
    )
    assert finished.returncode == DONE, finished.stderr
    assert [path.name for path in sorted(frames.iterdir())] == NAMES
    assert sorted(path.name for path in matte.iterdir()) == ["face", "mask"]
    originals = list(get_frames(read_video(COLLINS_CLIP)))[40:44]
    encoded = list(get_frames(read_video(out)))
    for name, original, decoded in zip(NAMES, originals, encoded, strict=True):
        result, face = (cv2.imread(str(folder / name)) for folder in (frames, matte / "face"))
        mask = cv2.imread(str(matte / "mask" / name), cv2.IMREAD_UNCHANGED)
        assert (mask.dtype, mask.shape) == (np.uint16, result.shape[:2])
        assert mask.max() == round(0.7 * 65535)
        weight = mask[..., None] / 65535
        assert np.abs(original.bgr * (1 - weight) + face * weight - result).max() <= 1
        assert np.array_equal(result[mask == 0], original.bgr[mask == 0])
        assert np.abs(decoded.bgr.astype(int) - result).mean() < 0.5
        for path in (frames / name, matte / "face" / name, matte / "mask" / name):
            assert verify(path).exit_code == INTACT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matte", "new", "out.mp4"]


def test_folders_that_hold_something_are_refused_and_stay(command_line, tmp_path):
    old = tmp_path / "frames" / "000001.png"
    old.parent.mkdir()
    old.write_bytes(OLD)
    for flag in ("--keep_frames", "--matte"):
        finished = command_line(flag, old.parent, "--out_video_name", tmp_path / "out.mp4")
        assert_fails(finished, BAD_ARGUMENT, flag, "give a new one")
    assert_fails(command_line("--keep_frames", old, "--out_video_name", tmp_path / "out.mp4"), BAD_ARGUMENT, "new one")
    both = ("--keep_frames", tmp_path / "a", "--matte", tmp_path / "a")
    assert_fails(command_line(*both, "--out_video_name", tmp_path / "out.mp4"), BAD_ARGUMENT, "its own folder")
    assert old.read_bytes() == OLD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]


def test_a_folder_that_cannot_be_made_costs_the_run_before_the_result_appears(command_line, tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    finished = command_line(
        *PART, "--keep_frames", tmp_path / "file" / "frames", "--out_video_name", tmp_path / "out.mp4"
    )
    assert_fails(finished, UNWRITABLE, "frames", "choose another folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_numbered_pictures_are_never_written_over_those_they_are_read_from(command_line, tmp_path, collins, resume):
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "in" / f"{number:05d}.png"), collins)
    (tmp_path / "link").symlink_to("in")
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    for out in ("in/%05d.png", "link/%05d.png"):
        finished = command_line("--target_video", tmp_path / "in/%05d.png", "--out_video_name", tmp_path / out, *resume)
        assert_fails(finished, BAD_ARGUMENT, out, "also an input")
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_a_resumed_run_does_not_write_over_strange_pictures(command_line, tmp_path):
    old = tmp_path / "000001.png"
    old.write_bytes(OLD)
    finished = command_line(*PART, "--resume", "--out_video_name", tmp_path / "%06d.png")
    assert finished.returncode == UNWRITABLE, finished.stderr
    assert "move them away" in finished.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [OLD]


def test_only_what_was_there_before_publishing_began_is_in_the_way(tmp_path):
    files, work = FrameFiles(tmp_path / "%d.png", None, None), tmp_path / ".swap-work"
    work.mkdir()
    begin_publishing(files, work)
    (tmp_path / "1.png").write_bytes(OLD)
    check_room_in(files, work)
    (work / "publishing").unlink()
    with pytest.raises(UnwritableOutput, match="move them away"):
        begin_publishing(files, work)
    with pytest.raises(BadArgument, match="move them away"):
        check_room(files)


@pytest.mark.parametrize(
    ("out", "frames", "matte"),
    [
        ("o/%06d.png", "o", None),
        ("o/%06d.png", "other/../o", None),
        ("o.mp4", "q/face", "q"),
        ("o.mp4", "q", "q"),
        ("z.mp4", "z.mp4", None),
        ("z.mp4", "z.mp4/frames", None),
        ("z.mp4", None, "z.mp4/matte"),
        ("q/face", None, "q"),
        ("o/%d.png", "o/7.png", None),
        ("o.mp4", "q", "q/000003.png"),
    ],
)
def test_outputs_that_collide_are_refused(tmp_path, out, frames, matte):
    folders = {"keep_frames": frames and tmp_path / frames, "matte": matte and tmp_path / matte}
    with pytest.raises(BadArgument, match=r"own folder|choose another folder"):
        check_places(tmp_path / out, frame_files(tmp_path / out, VideoOptions(**folders)), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "frames", "matte"),
    [("d/o.mp4", "d", "m"), ("o/%d.png", "o/frames", "o/matte"), ("o.mp4", "q", "q/m"), ("o.mp4", None, None)],
)
def test_outputs_beside_each_other_are_taken(tmp_path, out, frames, matte):
    folders = {"keep_frames": frames and Path(frames), "matte": matte and Path(matte)}
    check_places(Path(out), frame_files(Path(out), VideoOptions(**folders)), [tmp_path / "in.mp4"])


def test_colliding_outputs_end_a_resumed_run_too(command_line, tmp_path):
    out = tmp_path / "z.mp4"
    finished = command_line(*PART, "--resume", "--keep_frames", out, "--out_video_name", out)
    assert_fails(finished, BAD_ARGUMENT, "--keep_frames", "z.mp4")
    assert list(tmp_path.iterdir()) == []
