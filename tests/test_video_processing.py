"""Videos through the whole path with real ffmpeg: decode, encode in segments, join, original times and sound."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media_makers import PEAK_KB, Track, beep_times, draw, flash_times, frame_times, make_clip, payloads, run_ffmpeg

from utils.errors import BadArgument, UnreadableInput, UnwritableOutput
from utils.inference.video.options import VideoOptions
from utils.inference.video.rendering import encoding_for
from utils.inference.video_processing import (
    SegmentEncoder,
    check_video_extension,
    choose_encoding,
    encodable,
    get_final_video,
    get_frames,
    get_target,
    read_video,
    write_segment,
)
from utils.provenance.marks import VIDEO_TAGS

ROOT = Path(__file__).resolve().parents[1]
SHARED_CLIPS = sorted((ROOT.parent / "shared" / "media" / "videos").glob("*.mp4"))
FLASHES = frozenset({10, 11, 30, 31})
NTSC = Fraction(30000, 1001)
IRREGULAR = [
    0,
    *np.cumsum(np.random.default_rng(3).integers(250, 3000, 49)).tolist(),
]  # 1/30000 s; the average is true nowhere
BEEPS = (0.4, 1.2)
DEFAULT_OPTIONS = VideoOptions()
H264 = choose_encoding(Path("out.mp4"))


def grey(width, height, count=1):
    """Planes of grey pictures."""
    halves = (np.full((height // 2, width // 2), 128, np.uint8),) * 2
    return [(np.full((height, width), 100 + index, np.uint8), *halves) for index in range(count)]


def process(
    source: Path, out: Path, segment_frames: int = 20, options: VideoOptions = DEFAULT_OPTIONS
) -> tuple[list[int], list[Path]]:
    """What the pipeline does, without a swap: every frame through the encoder, in segments."""
    video = read_video(source)
    times: list[int] = []
    segments: list[Path] = []
    frames, encoding = get_frames(video), encoding_for(video, out, options)
    while chunk := list(itertools.islice(frames, segment_frames)):
        times += [frame.pts for frame in chunk]
        segments.append(out.with_name(f"{out.stem}.{len(segments)}.part"))
        planes = (encodable(frame, None, video, encoding) for frame in chunk)
        assert write_segment(planes, segments[-1], video, encoding) == len(chunk)
    get_final_video(segments, times, video, out)
    return times, segments


def describe(path: Path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "size": (stream.codec_context.width, stream.codec_context.height),
            "duration_s": container.duration / av.time_base,
            "codec": stream.codec_context.name,
            "pix_fmt": stream.codec_context.pix_fmt,
            "tracks": [(s.codec_context.name, s.language or "und") for s in container.streams.audio],
            "metadata": {key.lower(): text for key, text in container.metadata.items()},
        }


def beeps_of(rate, times=None, time_base=None):
    at = times or range(50)
    unit = time_base or 1 / Fraction(rate)
    return tuple(float(at[number] * unit) for number in (10, 30))


CLIPS = {
    "cfr25.mp4": {"tracks": [Track(beeps_s=BEEPS)]},
    "ntsc.mp4": {"rate": NTSC, "tracks": [Track(rate_hz=44_100, beeps_s=beeps_of(NTSC))]},
    "vfr.mp4": {
        "times": IRREGULAR,
        "time_base": Fraction(1, 30000),
        "tracks": [Track(seconds=3, beeps_s=beeps_of(25, IRREGULAR, Fraction(1, 30000)))],
    },
    "two.mp4": {
        "tracks": [Track(beeps_s=BEEPS, language="fra"), Track("libmp3lame", language="deu")],
        "metadata": {"title": "Two tracks", "creation_time": "2021-02-03T04:05:06Z"},
    },
    "late.mp4": {"tracks": [Track(start_s=0.2341, beeps_s=BEEPS)]},
    "pcm.mkv": {"tracks": [Track("pcm_s16le", 44_100, beeps_s=BEEPS)]},
    "opus.webm": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8"},
        "tracks": [Track("libopus", beeps_s=BEEPS)],
    },
    "silent.mp4": {},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, options in CLIPS.items():
        make_clip(folder / name, flashes=FLASHES, **options)
    make_clip(
        folder / "bframes.mp4", count=60, options={"bf": "3", "g": "20", "x264-params": "open-gop=1:b-pyramid=normal"}
    )
    return folder


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("cfr25.mp4", ".mp4"),
        ("cfr25.mp4", ".mkv"),
        ("ntsc.mp4", ".mov"),
        ("ntsc.mp4", ".mkv"),
        ("vfr.mp4", ".mp4"),
        ("vfr.mp4", ".mkv"),
        ("two.mp4", ".m4v"),
        ("late.mp4", ".mp4"),
        ("late.mp4", ".mkv"),
        ("pcm.mkv", ".mp4"),
        ("pcm.mkv", ".mkv"),
        ("opus.webm", ".webm"),
        ("opus.webm", ".mp4"),
        ("silent.mp4", ".mp4"),
    ],
)
def test_result_matches_original(clips, tmp_path, name, extension):
    source, out = clips / name, tmp_path / f"out{extension}"
    process(source, out)
    before, after = describe(source), describe(out)
    assert after["size"] == before["size"]
    assert after["pix_fmt"] == "yuv420p"
    assert after["codec"] == ("vp9" if extension == ".webm" else "h264")
    assert after["tracks"] == before["tracks"]
    assert after["duration_s"] == pytest.approx(before["duration_s"], abs=0.01)
    # Matroska counts milliseconds; elsewhere the times are the same to the tick.
    tolerance_s = 0.00051 if extension in (".mkv", ".webm") or source.suffix in (".mkv", ".webm") else 0
    old_times, new_times = frame_times(source), frame_times(out)
    assert len(new_times) == len(old_times) == 50
    assert max(abs(old - new) for old, new in zip(old_times, new_times, strict=True)) <= tolerance_s
    for old, new in zip(payloads(source), payloads(out), strict=True):
        assert [data for _, data in new] == [data for _, data in old]
        assert [at for at, _ in new] == pytest.approx([at for at, _ in old], abs=max(tolerance_s, 1e-6))
    if before["tracks"]:
        frame_s = float(min(later - now for now, later in itertools.pairwise(old_times)))
        flashes, beeps = flash_times(out), beep_times(out)
        assert len(flashes) == len(beeps) == 2
        assert max(abs(flash - beep) for flash, beep in zip(flashes, beeps, strict=True)) < min(frame_s, 0.02)


def test_metadata_is_kept(clips, tmp_path):
    process(clips / "two.mp4", tmp_path / "out.mp4")
    metadata = describe(tmp_path / "out.mp4")["metadata"]
    assert metadata["title"] == "Two tracks"
    assert metadata["creation_time"].startswith("2021-02-03T04:05:06")
    assert metadata["comment"] == VIDEO_TAGS["comment"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [int(track.disposition) for track in container.streams.audio] == [
            1,
            0,
        ]  # the second is not played by default


def test_mp4_can_be_played_while_it_loads(clips, tmp_path):
    process(clips / "silent.mp4", tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_every_segment_stands_alone(clips, tmp_path):
    _, segments = process(clips / "cfr25.mp4", tmp_path / "out.mp4", segment_frames=7)
    assert len(segments) == 8
    for number, segment in enumerate(segments):
        images = [image for _, image in get_target(read_video(segment))]
        assert len(images) == (7 if number < 7 else 1)
    images = [image for _, image in get_target(read_video(tmp_path / "out.mp4"))]
    originals = [image for _, image in get_target(read_video(clips / "cfr25.mp4"))]
    assert min(psnr(a, b) for a, b in zip(images, originals, strict=True)) > 38  # no frame is out of its place


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_rotation_is_honoured(tmp_path, rotation_deg):
    clip = make_clip(tmp_path / "turned.mp4", count=3, size=(160, 96), rotation_deg=rotation_deg)
    video = read_video(clip)
    _, image = next(get_target(video))
    upright = np.ascontiguousarray(np.rot90(draw(0, 160, 96), rotation_deg // 90))
    assert (video.width, video.height) == upright.shape[1::-1]
    assert psnr(image, upright) > 30
    process(clip, tmp_path / "out.mp4")
    done = read_video(tmp_path / "out.mp4")
    assert (done.width, done.height, done.rotation_deg) == (video.width, video.height, 0)
    assert psnr(next(get_target(done))[1], upright) > 30


def test_mirrored_and_turned_as_ffmpeg_does(tmp_path):
    clip = make_clip(tmp_path / "plain.mp4", count=2, size=(160, 96))
    for options in (
        ("-display_hflip",),
        ("-display_rotation", 90, "-display_hflip"),
        ("-display_rotation", 180, "-display_vflip"),
    ):
        run_ffmpeg(*options, "-i", clip, "-c", "copy", tmp_path / "mirrored.mp4")
        run_ffmpeg("-i", tmp_path / "mirrored.mp4", "-frames:v", 1, tmp_path / "expected.png")
        assert (
            psnr(next(get_target(read_video(tmp_path / "mirrored.mp4")))[1], cv2.imread(str(tmp_path / "expected.png")))
            > 35
        )


@pytest.mark.parametrize(
    ("size", "out_size"), [((161, 120), (162, 120)), ((160, 121), (160, 122)), ((161, 121), (162, 122))]
)
def test_odd_sizes(tmp_path, caplog, size, out_size):
    clip = make_clip(tmp_path / "odd.mp4", count=4, size=size, pix_fmt="yuv444p")
    process(clip, tmp_path / "out.mp4")
    assert describe(tmp_path / "out.mp4")["size"] == out_size  # yuv420p in H.264 is even
    assert "even sizes" in caplog.text
    process(clip, tmp_path / "out.webm")
    assert describe(tmp_path / "out.webm")["size"] == size
    (_, before), (_, after) = next(get_target(read_video(clip))), next(get_target(read_video(tmp_path / "out.mp4")))
    assert psnr(after[: size[1], : size[0]], before) > 38


@pytest.mark.parametrize(
    "colour", [(2, 0), (6, 1), (1, 1), (1, 2), (6, 2)], ids=["untagged", "bt601", "bt709", "bt709 full", "bt601 full"]
)
def test_colours_stay(tmp_path, colour):
    clip = make_clip(tmp_path / "in.mp4", count=10, size=(320, 240), colour=colour, options={"crf": "8"})
    video = read_video(clip)
    assert (video.colour.matrix, video.colour.range) == colour
    before = [image for _, image in get_target(video)]
    assert (
        np.abs(np.mean(before[0].astype(float) - draw(0, 320, 240), (0, 1))).max() < 1
    )  # the right matrix and range on the way in
    process(clip, tmp_path / "out.mp4")
    done = read_video(tmp_path / "out.mp4")
    after = [image for _, image in get_target(done)]
    assert done.colour.matrix == colour[0]
    shift = np.mean([a.astype(float) - b for a, b in zip(after, before, strict=True)], (0, 1, 2))
    assert np.abs(shift).max() < 0.3
    assert np.mean([psnr(a, b) for a, b in zip(after, before, strict=True)]) > 42


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("ffv1", "gray"), ("ffv1", "yuv420p10le"), ("ffv1", "yuva420p"), ("libx264rgb", "bgr24")]
)
def test_unusual_pixels(tmp_path, codec, pix_fmt):
    clip = make_clip(tmp_path / "in.mkv", count=3, codec=codec, pix_fmt=pix_fmt)
    process(clip, tmp_path / "out.mp4")
    before, after = ([image for _, image in get_target(read_video(path))] for path in (clip, tmp_path / "out.mp4"))
    assert min(psnr(a, b) for a, b in zip(after, before, strict=True)) > 36


@pytest.mark.parametrize("name", ["bframes.mp4", "bframes.mkv", "bframes.ts", "bframes.avi", "cut.mp4", "opus.webm"])
def test_seeking_is_exact(clips, tmp_path, name):
    clip = clips / name
    if not clip.exists():
        clip = tmp_path / name
        run_ffmpeg(*(("-ss", 0.73) if name == "cut.mp4" else ()), "-i", clips / "bframes.mp4", "-c", "copy", clip)
    video = read_video(clip)
    frames = list(get_target(video))
    assert len(frames) >= 40
    assert [pts for pts, _ in frames] == sorted({pts for pts, _ in frames})
    for first in range(0, len(frames), 7):
        found = list(get_target(video, first_pts=frames[first][0], max_frames=2))
        assert [pts for pts, _ in found] == [pts for pts, _ in frames[first : first + 2]]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, frames[first:], strict=False))


def test_unknown_time_stamp_is_refused(clips):
    with pytest.raises(UnreadableInput, match="no frame at time stamp 7"):
        next(get_target(read_video(clips / "bframes.mp4"), first_pts=7))


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "empty", "text", "picture", "sound", "cover", "truncated", "playlist", "noise"]
)
def test_what_is_no_video(clips, tmp_path, kind):
    path = tmp_path / "input.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("Dear Sir or Madam,\n" * 100)
    elif kind == "picture":
        path.write_bytes(cv2.imencode(".jpg", draw(0, 64, 64))[1].tobytes())
    elif kind == "sound":
        run_ffmpeg("-i", clips / "cfr25.mp4", "-vn", "-c", "copy", path)
    elif kind == "cover":
        cv2.imwrite(str(tmp_path / "cover.jpg"), draw(0, 64, 64))
        streams = ("-map", "0:a", "-map", "1:v", "-c", "copy", "-disposition:v:0", "attached_pic")
        run_ffmpeg("-i", clips / "cfr25.mp4", "-i", tmp_path / "cover.jpg", *streams, path)
    elif kind == "truncated":
        data = (clips / "cfr25.mp4").read_bytes()
        path.write_bytes(data[: data.index(b"moov") - 4])
    elif kind == "playlist":
        path.write_text(f"ffconcat version 1.0\nfile '{clips / 'cfr25.mp4'}'\n")
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(50_000))
    with pytest.raises(UnreadableInput) as caught:
        read_video(path)
    assert "input.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cover_picture_beside_a_video(clips, tmp_path):
    cv2.imwrite(str(tmp_path / "cover.jpg"), draw(0, 64, 64))
    streams = ("-map", "1:v", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic")
    run_ffmpeg("-i", clips / "cfr25.mp4", "-i", tmp_path / "cover.jpg", *streams, tmp_path / "in.mp4")
    video = read_video(tmp_path / "in.mp4")
    assert (video.width, video.height) == (160, 120)
    assert len(list(get_target(video))) == 50


def test_damage_in_the_middle_is_survived(clips, tmp_path):
    data = bytearray((clips / "pcm.mkv").read_bytes())
    for start in range(len(data) // 3, len(data) * 2 // 3, 997):
        data[start : start + 400] = np.random.default_rng(start).bytes(400)
    (tmp_path / "in.mkv").write_bytes(data)
    times, _ = process(tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert 10 < len(times) <= 50
    assert len(frame_times(tmp_path / "out.mp4")) == len(times)


def test_cut_off_file_gives_what_it_has(clips, tmp_path):
    data = (clips / "pcm.mkv").read_bytes()
    (tmp_path / "in.mkv").write_bytes(data[: len(data) // 2])
    times, _ = process(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert 5 < len(times) < 50


def test_sound_that_the_container_cannot_hold(clips, tmp_path, caplog):
    process(clips / "late.mp4", tmp_path / "out.webm")
    assert "encoded anew" in caplog.text
    assert [track[0] for track in describe(tmp_path / "out.webm")["tracks"]] == ["opus"]
    assert beep_times(tmp_path / "out.webm") == pytest.approx(flash_times(tmp_path / "out.webm"), abs=0.005)


@pytest.mark.parametrize("extension", [".ts", ".flv", ".avi", ".mpg"])
def test_other_containers_are_read(clips, tmp_path, extension):
    source = tmp_path / f"in{extension}"
    codecs = ("-c:v", "mpeg2video", "-q:v", 2, "-c:a", "mp2") if extension == ".mpg" else ("-c", "copy")
    run_ffmpeg("-i", clips / "cfr25.mp4", *codecs, source)
    process(source, tmp_path / "out.mp4")
    times = frame_times(tmp_path / "out.mp4")
    assert len(times) == 50
    assert [later - now for now, later in itertools.pairwise(times)] == pytest.approx([0.04] * 49, abs=0.0011)
    # AVI and FLV lose the edit list that hides the 21 ms of priming.
    assert beep_times(tmp_path / "out.mp4") == pytest.approx(flash_times(tmp_path / "out.mp4"), abs=0.03)


def test_names_that_look_like_options(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "a 'quoted' \"name\".mp4", "concat:x|y.mp4", "pipe:1.mp4", "100%d.mp4", "new\nline.mp4"):
        if sys.platform == "win32" and set(name) & set('"|:\n'):
            continue
        Path(name).write_bytes((clips / "silent.mp4").read_bytes())
        process(Path(name), Path(f"out {name}"), segment_frames=50)
        assert len(frame_times(tmp_path / f"out {name}")) == 50


def test_extensions():
    assert check_video_extension(Path("a.b.MKV")) == ".mkv"
    for name in ("a.wmv", "a", "a.avi", ".mp4"):
        with pytest.raises(BadArgument, match=r"\.webm"):
            check_video_extension(Path(name))


def test_encoder_without_a_folder(clips, tmp_path):
    video = read_video(clips / "silent.mp4")
    with pytest.raises(UnwritableOutput, match="No such file") as caught:
        write_segment(grey(160, 120, 50), tmp_path / "none" / "segment", video, H264)
    assert "\n" not in str(caught.value)


def test_encoder_that_dies(clips, tmp_path):
    video = read_video(clips / "silent.mp4")
    with pytest.raises(UnwritableOutput), SegmentEncoder(tmp_path / "segment", video, H264) as encoder:
        encoder.write(grey(160, 120)[0])
        encoder._process.kill()
        for _ in range(200):
            encoder.write(grey(160, 120)[0])
    assert encoder._process.returncode is not None
    assert not (tmp_path / "segment").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_encoder_stops_with_its_frames(clips, tmp_path, error):
    video = read_video(clips / "silent.mp4")
    encoder = SegmentEncoder(tmp_path / "segment", video, H264)
    with pytest.raises(error), encoder:
        encoder.write(grey(160, 120)[0])
        raise error
    assert encoder._process.returncode is not None
    assert not (tmp_path / "segment").exists()


def test_wrong_frames_and_counts_are_defects(clips, tmp_path):
    video = read_video(clips / "silent.mp4")
    with pytest.raises(ValueError, match="instead of"):
        write_segment(grey(80, 60), tmp_path / "segment", video, H264)
    with pytest.raises(UnwritableOutput):
        write_segment([], tmp_path / "segment", video, H264)
    write_segment(grey(160, 120, 5), tmp_path / "segment", video, H264)
    for times in ([0, 512, 1024, 1536], [0, 512, 1024, 1536, 2048, 2560]):
        with pytest.raises(ValueError, match="frames"):
            get_final_video([tmp_path / "segment"], times, video, tmp_path / "out.mp4")
        assert not (tmp_path / "out.mp4").exists()
    with pytest.raises(UnwritableOutput, match="none"):
        get_final_video([tmp_path / "segment"], [0, 512, 1024, 1536, 2048], video, tmp_path / "none" / "out.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow(tmp_path):
    clip = make_clip(
        tmp_path / "long.mp4", count=900, size=(96, 64), options={"preset": "ultrafast"}, tracks=[Track(seconds=36)]
    )
    program = """
import sys
from pathlib import Path
from utils.inference.video_processing import (
    choose_encoding, encodable, get_final_video, get_frames, read_video, write_segment)
source, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
video, times = read_video(source), []
def frames():
    for frame in get_frames(video, max_frames=count):
        times.append(frame.pts)
        yield encodable(frame, None, video, encoding)
encoding = choose_encoding(out)
write_segment(frames(), out.with_suffix(".part"), video, encoding)
get_final_video([out.with_suffix(".part")], times, video, out)
"""
    program += f"print({PEAK_KB})\n"
    peaks = []
    for count in (200, 900):
        command = [sys.executable, "-c", program, str(clip), str(tmp_path / f"{count}.mp4"), str(count)]
        peaks.append(int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))
    assert (peaks[1] - peaks[0]) << 10 < 6 * 2**20  # 700 frames of 96x64 are 13 MB


@pytest.mark.slow
@pytest.mark.parametrize("clip", SHARED_CLIPS, ids=lambda path: path.stem)
def test_real_clips(clip, tmp_path):
    times, _ = process(clip, tmp_path / "out.mp4", segment_frames=100)
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip)
    pairs = zip(get_target(read_video(clip)), get_target(read_video(tmp_path / "out.mp4")), strict=True)
    errors = [psnr(a, b) for (_, a), (_, b) in pairs]
    assert len(errors) == len(times)
    assert np.mean(errors) > 42


def psnr(a, b) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(np.float32) - b) ** 2))))
