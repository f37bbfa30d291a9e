"""Numbered pictures and animations as videos, and numbered pictures as results."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import COLLINS, COLLINS_CLIP
from media_makers import draw, frame_times
from PIL import Image as PillowImage
from test_command_line import BAD_ARGUMENT, DONE, OLD, UNREADABLE, UNWRITABLE, assert_fails
from test_video_parts import process
from test_video_processing import psnr

from utils.errors import BadArgument, UnreadableInput
from utils.inference.video import pictures as pictures_module
from utils.inference.video.options import Moment, VideoOptions
from utils.inference.video.parts import show_at, shown_times
from utils.inference.video.pictures import numbered, result_numbers, sequence_files
from utils.inference.video_processing import get_frames, read_target
from utils.provenance.marks import DIGITAL_SOURCE_TYPE

DURATIONS_MS = [40, 80, 120, 40, 200]


def pictures(folder, count=5, first=1, name="%05d.png", size=(64, 48)):
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        cv2.imwrite(str(folder / (name % number)), draw(number, *size))
    return folder / name


def animation(path, count=5):
    frames = [PillowImage.fromarray(draw(number, 64, 48)[:, :, ::-1]) for number in range(count)]
    options = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=DURATIONS_MS[:count], **options)
    return path


def test_a_sequence_is_a_video_of_the_given_rate(tmp_path):
    pattern = pictures(tmp_path / "in", first=8)
    for fps, options in ((25, VideoOptions()), (Fraction(24000, 1001), VideoOptions(in_fps=Fraction(24000, 1001)))):
        assert process(pattern, tmp_path / "out.mp4", options) == 5
        assert frame_times(tmp_path / "out.mp4") == [number / Fraction(fps) for number in range(5)]
    for number, frame in enumerate(get_frames(read_target(pattern, VideoOptions())), 8):
        assert np.array_equal(frame.bgr, draw(number, 64, 48))
    after = get_frames(read_target(tmp_path / "out.mp4", VideoOptions()))
    assert min(psnr(frame.bgr, draw(number, 64, 48)) for number, frame in enumerate(after, 8)) > 34


def test_a_part_of_a_sequence(tmp_path):
    video = read_target(
        pictures(tmp_path / "in"), VideoOptions(start=Moment(frame=1), end=Moment(seconds=Fraction("0.16")))
    )
    assert [frame.pts for frame in get_frames(video)] == [1, 2, 3]
    assert [frame.pts for frame in get_frames(video, 2, 1)] == [2]


def test_numbers_are_read_as_the_pattern_says(tmp_path, caplog):
    pictures(tmp_path / "in", count=3, first=9, name="a%d.png")
    for name in ("a07.png", "a+8.png", "b9.png", "a9.png.png"):
        cv2.imwrite(str(tmp_path / "in" / name), draw(0, 64, 48))
    assert [number for number, _ in sequence_files(tmp_path / "in" / "a%d.png")] == [9, 10, 11]
    (tmp_path / "in" / "a10.png").unlink()
    assert len(list(get_frames(read_target(tmp_path / "in" / "a%d.png", VideoOptions())))) == 2
    assert "1 numbers between the first and the last have no file" in caplog.text
    assert numbered(Path("%03d.png"), 12345).name == "12345.png"


def test_deep_pictures_are_written_with_ten_bits(tmp_path):
    (tmp_path / "in").mkdir()
    ramp = np.tile(np.linspace(20_000, 22_000, 64).astype(np.uint16)[None, :, None], (48, 1, 3))
    for number in range(3):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), ramp)
    video = read_target(tmp_path / "in" / "%d.png", VideoOptions())
    assert video.bits == 16
    process(video.path, tmp_path / "out.mp4", VideoOptions(crf=4))
    done = read_target(tmp_path / "out.mp4", VideoOptions())
    luma = np.frombuffer(next(get_frames(done)).decoded.planes[0], np.uint16)
    assert done.bits == 10
    assert len(np.unique(luma[luma > 0])) > 20, "8 bits have 8 levels here"


@pytest.mark.parametrize("kind", ["none", "folder", "damaged", "sizes"])
def test_sequences_that_cannot_be_read(tmp_path, kind):
    pattern = pictures(tmp_path / "in", count=0 if kind == "none" else 3)
    if kind == "folder":
        pattern = tmp_path / "missing" / "%d.png"
    if kind == "damaged":
        (tmp_path / "in" / "00002.png").write_bytes(OLD)
    if kind == "sizes":
        cv2.imwrite(str(tmp_path / "in" / "00002.png"), draw(0, 32, 32))
    with pytest.raises(UnreadableInput) as caught:
        list(get_frames(read_target(pattern, VideoOptions())))
    assert {"none": "%05d", "folder": "missing", "damaged": "00002", "sizes": "32x32"}[kind] in str(caught.value)


@pytest.mark.parametrize("extension", [".gif", ".webp", ".png"])
def test_animations_keep_their_times(tmp_path, extension):
    source = animation(tmp_path / f"in{extension}")
    process(source, tmp_path / "out.mp4", VideoOptions())
    assert [float(time) for time in frame_times(tmp_path / "out.mp4")] == pytest.approx([0, 0.04, 0.12, 0.24, 0.28])
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(0.48, abs=0.011)
    part = VideoOptions(start=Moment(frame=1), end=Moment(frame=3))
    process(source, tmp_path / "part.mp4", part)
    assert [float(time) for time in frame_times(tmp_path / "part.mp4")] == pytest.approx([0, 0.08])
    if extension == ".webp":
        for number, frame in enumerate(get_frames(read_target(source, VideoOptions()))):
            assert np.array_equal(frame.bgr, draw(number, 64, 48))


@pytest.mark.parametrize("extension", [".gif", ".webp"])
def test_an_animation_of_one_picture_is_a_photo(tmp_path, extension):
    with pytest.raises(UnreadableInput, match="single picture; swap it with --target_image"):
        read_target(animation(tmp_path / f"one{extension}", 1), VideoOptions())


def test_a_damaged_webp_and_a_rate_for_a_video_are_refused(tmp_path):
    data = animation(tmp_path / "in.webp").read_bytes()
    (tmp_path / "in.webp").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableInput, match=r"in\.webp"):
        list(get_frames(read_target(tmp_path / "in.webp", VideoOptions())))
    with pytest.raises(BadArgument, match="--in_fps is for picture files"):
        read_target(COLLINS_CLIP, VideoOptions(in_fps=Fraction(25)))


def test_chunks_without_end_beside_the_pictures_of_a_webp_are_not_walked(tmp_path):
    data = bytearray(animation(tmp_path / "in.webp").read_bytes() + (b"junk" + bytes(4)) * 2000)
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    (tmp_path / "in.webp").write_bytes(data)
    with pytest.raises(UnreadableInput, match=r"in\.webp.*more than 1000 chunks that are no pictures"):
        read_target(tmp_path / "in.webp", VideoOptions())


def test_the_times_of_a_webp_cost_no_decoding(tmp_path, monkeypatch):
    path = animation(tmp_path / "in.webp")
    monkeypatch.setattr(pictures_module.PillowImage, "open", None)
    video = read_target(path, VideoOptions())
    assert shown_times(video) == np.cumsum([0, *DURATIONS_MS[:-1]]).tolist()
    assert (video.width, video.height) == (64, 48)


def test_a_sequence_becomes_a_sequence_of_the_same_numbers_depth_and_alpha(command_line, tmp_path):
    (tmp_path / "in").mkdir()
    image = cv2.imread(str(COLLINS)).astype(np.uint16) * 257
    image[::2] ^= 3
    deep = np.dstack([image, np.full(image.shape[:2], 40_000, np.uint16)])
    for number in (41, 42, 43):
        cv2.imwrite(str(tmp_path / "in" / f"{number:04d}.png"), np.roll(deep, number - 41, axis=1))
    out = tmp_path / "out" / "f_%04d.png"
    finished = command_line("--target_video", tmp_path / "in" / "%04d.png", "--start", "1f", "--out_video_name", out)
    assert finished.returncode == DONE, finished.stderr
    assert finished.stdout == f"{out}\n"
    assert sorted(path.name for path in out.parent.iterdir()) == ["f_0042.png", "f_0043.png"]
    for number in (42, 43):
        path = out.parent / f"f_{number:04d}.png"
        before = cv2.imread(str(tmp_path / "in" / f"{number:04d}.png"), cv2.IMREAD_UNCHANGED)
        after = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert 2000 < (after != before).any(2).sum() < 20_000
        assert np.array_equal(after[..., 3], before[..., 3])
        assert DIGITAL_SOURCE_TYPE.encode() in path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    again = command_line("--target_video", tmp_path / "in" / "%04d.png", "--out_video_name", out)
    assert_fails(again, BAD_ARGUMENT, "f_%04d.png", "move them away")


def test_a_video_becomes_a_sequence(command_line, tmp_path):
    out = tmp_path / "new" / "%03d.jpg"
    part = ("--start", "10f", "--end", "12f")
    finished = command_line(*part, "--out_video_name", out, "--keep_frames", tmp_path / "kept")
    assert finished.returncode == DONE, finished.stderr
    assert sorted(path.name for path in out.parent.iterdir()) == ["001.jpg", "002.jpg"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["000001.png", "000002.png"]
    assert psnr(cv2.imread(str(out.parent / "001.jpg")), cv2.imread(str(tmp_path / "kept" / "000001.png"))) > 38
    assert_fails(command_line("--out_video_name", tmp_path / "%d.bmp"), BAD_ARGUMENT, "%d.bmp", ".png")
    (tmp_path / "file").write_bytes(OLD)
    assert_fails(command_line(*part, "--out_video_name", tmp_path / "file" / "%d.png"), UNWRITABLE, "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "kept", "new"]
    assert_fails(command_line("--target_video", tmp_path / "%d.png"), UNREADABLE, "%d.png")


def test_numbers_with_gaps_are_those_of_the_originals_unless_the_rate_changes(tmp_path):
    pattern = pictures(tmp_path / "in", count=7)
    for number in (3, 4, 6):
        numbered(pattern, number).unlink()
    video = read_target(pattern, VideoOptions(start=Moment(frame=1)))
    for fps, wanted in ((None, [2, 5, 7]), (Fraction(50), [2, 3, 4, 5, 6, 7])):
        timeline = show_at(video, [1, 2, 3], fps)
        assert list(result_numbers(timeline.video, [1, 2, 3], len(timeline.times))) == wanted


def test_a_sequence_with_a_gap_gives_one(command_line, tmp_path, collins):
    (tmp_path / "in").mkdir()
    for number in (1, 2, 7):
        cv2.imwrite(str(tmp_path / "in" / f"{number:05d}.png"), collins)
    out = tmp_path / "out" / "%05d.png"
    finished = command_line("--target_video", tmp_path / "in" / "%05d.png", "--out_video_name", out)
    assert finished.returncode == DONE, finished.stderr
    assert sorted(path.name for path in out.parent.iterdir()) == ["00001.png", "00002.png", "00007.png"]
