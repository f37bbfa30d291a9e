"""Frames, faces and masks as picture files, from the command line."""

from __future__ import annotations

import cv2
import numpy as np
from conftest import COLLINS_CLIP
from test_command_line import BAD_ARGUMENT, DONE, OLD, UNWRITABLE, assert_fails

from utils.inference.video_processing import get_frames, read_video
from utils.marks import DIGITAL_SOURCE_TYPE

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
            assert DIGITAL_SOURCE_TYPE.encode() in path.read_bytes()
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
