"""Every codec through the whole path: segments that join, times, depth, range, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from media_makers import Track, frame_times, make_clip, payloads, run_ffmpeg
from test_video_processing import describe, process, psnr

from utils.errors import BadArgument
from utils.inference.video import codecs as video_codecs
from utils.inference.video.codecs import CODECS, can_encode, choose_encoding, encoder_options, working_codecs
from utils.inference.video.options import CODEC_NAMES, HARDWARE_CODECS, SOFTWARE_CODECS, VideoOptions
from utils.inference.video.pixels import encodable, upright_planes
from utils.inference.video.planes import LAYOUTS
from utils.inference.video.rendering import encoding_for
from utils.inference.video_processing import get_frames, read_video

PAIRS = [(name, extension) for name in SOFTWARE_CODECS for extension in CODECS[name].extensions if extension != ".m4v"]


def deep_clip(path, colours="colorspace=bt709"):
    """A 10-bit clip of smooth colours, whose luma uses the levels between those of 8 bits."""
    run_ffmpeg(
        *(
            "-f",
            "lavfi",
            "-i",
            "gradients=size=192x108:rate=25:duration=1:speed=0.00001:n=2:seed=7:x0=0:y0=0:x1=191:y1=107:c0=0x303040:c1=0x706860",
        ),
        *("-vf", f"format=gbrp16le,scale=flags=accurate_rnd,format=yuv420p10le,setparams={colours}"),
        *("-c:v", "libx265", "-x265-params", "log-level=error", "-crf", "4"),
        path,
    )
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "plain.mp4", count=30, size=(160, 96), options={"crf": "8"}, tracks=[Track(seconds=1)])
    make_clip(folder / "odd.mp4", count=5, size=(161, 97), pix_fmt="yuv444p")
    deep_clip(folder / "deep.mp4")
    return folder


def test_the_flags_name_the_codecs_of_the_table():
    assert tuple(CODECS) == CODEC_NAMES
    assert {name for name, codec in CODECS.items() if codec.hardware} == set(HARDWARE_CODECS)
    assert set(SOFTWARE_CODECS) <= set(working_codecs())
    assert {layout for codec in CODECS.values() for layout in codec.layouts.values()} <= set(LAYOUTS)


@pytest.mark.parametrize(("name", "extension"), PAIRS)
def test_segments_of_every_codec_join_in_every_container_that_takes_it(clips, tmp_path, name, extension):
    source, out = clips / "plain.mp4", tmp_path / f"out{extension}"
    process(source, out, segment_frames=29, options=VideoOptions(codec=name))  # the last segment is a single frame
    assert describe(out)["codec"] in (name, "libdav1d" if name == "av1" else name)
    tolerance_s = 0 if extension in (".mp4", ".mov") else 0.00051
    for old, new in zip(frame_times(source), frame_times(out), strict=True):
        assert abs(old - new) <= tolerance_s
    if extension in (".mp4", ".mov", ".mkv"):
        assert [data for _, data in payloads(out)[0]] == [data for _, data in payloads(source)[0]]
    before, after = (list(get_frames(read_video(path))) for path in (source, out))
    assert min(psnr(a.bgr, b.bgr) for a, b in zip(before, after, strict=True)) > 40


@pytest.mark.parametrize("name", SOFTWARE_CODECS)
def test_a_segment_begins_with_a_key_frame_and_refers_to_nothing_outside(clips, tmp_path, name):
    extension = CODECS[name].extensions[0]
    _, segments = process(clips / "plain.mp4", tmp_path / f"out{extension}", 10, VideoOptions(codec=name))
    pictures = [frame.bgr for segment in segments for frame in get_frames(read_video(segment))]
    joined = [frame.bgr for frame in get_frames(read_video(tmp_path / f"out{extension}"))]
    assert len(pictures) == 30
    assert all(np.array_equal(a, b) for a, b in zip(pictures, joined, strict=True))


@pytest.mark.parametrize("name", [name for name in SOFTWARE_CODECS if name != "prores"])
def test_ten_bits_stay_ten_bits(clips, tmp_path, name):
    video, out = read_video(clips / "deep.mp4"), tmp_path / "out.mp4"
    assert video.bits == 10
    process(clips / "deep.mp4", out, 10, VideoOptions(codec=name, crf=6))
    done = read_video(out)
    assert done.bits == 10
    errors = []
    for before, after in zip(get_frames(video), get_frames(done), strict=True):
        old, new = (upright_planes(frame.decoded, video, LAYOUTS["yuv420p10le"], 1)[0] for frame in (before, after))
        errors.append(np.abs(old.astype(int) - new).mean())
    assert np.mean(errors) < 0.75, "of 1023: through 8 bits it would be 1"
    assert min(np.bincount(new.ravel() % 4)) > 0.1 * new.size, "all levels are in use"


def test_ten_bits_are_written_as_hevc_main_10_that_every_player_takes(clips, tmp_path):
    process(clips / "deep.mp4", tmp_path / "out.mp4")
    assert (describe(tmp_path / "out.mp4")["codec"], describe(tmp_path / "out.mp4")["pix_fmt"]) == (
        "hevc",
        "yuv420p10le",
    )
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()
    process(clips / "deep.mp4", tmp_path / "out.webm")
    assert describe(tmp_path / "out.webm")["pix_fmt"] == "yuv420p10le"


def test_what_is_encoded_of_an_untouched_frame_is_what_was_stored(clips):
    for name in ("plain.mp4", "deep.mp4"):
        video = read_video(clips / name)
        encoding = encoding_for(video, Path("out.mp4"), VideoOptions())
        for frame in get_frames(video, max_frames=3):
            planes = encodable(frame, None, video, encoding)
            luma = frame.decoded.planes[0]
            stored = np.frombuffer(luma, planes[0].dtype).reshape(luma.height, -1)[:, : luma.width]
            assert np.array_equal(planes[0], stored)


@pytest.mark.parametrize("name", [name for name in SOFTWARE_CODECS if name != "prores"])
def test_full_range_stays_full_range_without_drift(tmp_path, name):
    clip = make_clip(tmp_path / "in.mp4", count=6, size=(320, 240), colour=(1, 2), options={"crf": "4"})
    video = read_video(clip)
    process(clip, tmp_path / "out.mp4", options=VideoOptions(codec=name, crf=8))
    done = read_video(tmp_path / "out.mp4")
    assert (video.colour.range, done.colour.range, done.colour.matrix) == (2, 2, 1)
    pairs = zip(get_frames(video), get_frames(done), strict=True)
    drift = [np.mean(before.bgr.astype(float) - after.bgr, (0, 1)) for before, after in pairs]
    assert np.abs(np.mean(drift, 0)).max() < 0.3


def test_full_range_becomes_limited_in_prores_which_cannot_say_so(tmp_path):
    clip = make_clip(tmp_path / "in.mp4", count=3, size=(320, 240), colour=(1, 2), options={"crf": "4"})
    process(clip, tmp_path / "out.mov", options=VideoOptions(codec="prores"))
    done = read_video(tmp_path / "out.mov")
    assert done.colour.range != 2
    for before, after in zip(get_frames(read_video(clip)), get_frames(done), strict=True):
        assert np.abs(np.mean(before.bgr.astype(float) - after.bgr, (0, 1))).max() < 0.4  # swscale's rounding


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
@pytest.mark.parametrize("name", ["plain.mp4", "odd.mp4"])
def test_turned_clips_are_encoded_upright(clips, tmp_path, rotation_deg, name):
    run_ffmpeg("-display_rotation", rotation_deg, "-display_hflip", "-i", clips / name, "-c", "copy", tmp_path / name)
    for codec in ("h264", "prores"):
        process(
            tmp_path / name, tmp_path / "out.mov", options=VideoOptions(codec=codec, crf=4 if codec == "h264" else None)
        )
        before, after = (next(get_frames(read_video(path))).bgr for path in (tmp_path / name, tmp_path / "out.mov"))
        assert psnr(after[: before.shape[0], : before.shape[1]], before) > 38


def test_crf_changes_the_size_and_keeps_within_the_scale(clips, tmp_path):
    sizes = []
    for crf in (10, 40):
        process(clips / "plain.mp4", tmp_path / f"{crf}.mp4", options=VideoOptions(crf=crf))
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("out.webm", {"codec": "h264"}, ["h264", "out.webm", "*.mp4", "vp9"]),
        ("out.mp4", {"codec": "prores"}, ["prores", "*.mov"]),
        ("out.mov", {"codec": "av1"}, ["av1", "*.mkv"]),
        ("out.mov", {"codec": "prores", "crf": 10}, ["--crf 10", "leave the flag out"]),
        ("out.mp4", {"crf": 52}, ["--crf 52", "0", "51"]),
        ("out.webm", {"crf": 64}, ["--crf 64", "vp9", "63"]),
    ],
)
def test_contradictions_are_refused_with_the_remedy(clips, out, options, words):
    with pytest.raises(BadArgument) as caught:
        encoding_for(read_video(clips / "plain.mp4"), Path(out), VideoOptions(**options))
    for word in words:
        assert word in str(caught.value)


def test_a_device_that_is_not_there_is_refused_with_what_works(monkeypatch):
    monkeypatch.setattr(video_codecs, "can_encode", lambda name: name == "hevc_nvenc")
    with pytest.raises(BadArgument, match=r"h264_nvenc does not work on this machine; use h264, .*prores, hevc_nvenc$"):
        choose_encoding(Path("out.mp4"), codec_name="h264_nvenc")
    assert choose_encoding(Path("out.mp4"), 10, "hevc_nvenc").layout.bits == 10


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_is_tried_with_options_that_its_encoder_knows(name):
    codec = CODECS[name]
    assert can_encode(name) or codec.hardware
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-h", f"encoder={codec.encoder}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if f"Encoder {codec.encoder}" not in text:
        pytest.skip("this ffmpeg was built without it")
    general = {"c:v", "b:v", "g", "global_quality", "profile:v", "qmin", "deadline"}
    for option in set(encoder_options(choose_unchecked(codec))) - general:
        assert f"-{option} " in text, f"{codec.encoder} has no -{option}"


def choose_unchecked(codec):
    return video_codecs.Encoding(codec, next(iter(LAYOUTS.values())), codec.quality or None)


def test_high_dynamic_range_stays_so_and_is_never_put_into_eight_bits(tmp_path, monkeypatch):
    colours = "colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    clip = deep_clip(tmp_path / "pq.mp4", colours)
    process(clip, tmp_path / "out.mp4")
    before, after = read_video(clip), read_video(tmp_path / "out.mp4")
    assert (after.colour.primaries, after.colour.transfer, after.colour.matrix, after.bits) == (9, 16, 9, 10)
    assert before.colour == after.colour
    monkeypatch.setattr(video_codecs, "can_encode", lambda name: True)
    with pytest.raises(BadArgument, match=r"HDR \(PQ\).*--codec hevc"):
        encoding_for(before, Path("out.mp4"), VideoOptions(codec="h264_nvenc"))


def test_more_bits_than_are_kept_are_told(clips, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(video_codecs, "can_encode", lambda name: True)
    encoding_for(read_video(clips / "deep.mp4"), Path("out.mp4"), VideoOptions(codec="h264_nvenc"))
    assert "10 bits a sample; h264_nvenc keeps 8" in caplog.text
