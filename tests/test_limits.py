"""What says that it is huge is refused before it is decoded, in one line that names the flag, and costs no memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import weakref
import zlib
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from conftest import COLLINS, COLLINS_CLIP, ROOT
from media_makers import PEAK_KB, make_clip, run_ffmpeg
from PIL import Image as PillowImage

from utils.errors import UnreadableInput
from utils.flags import build_parser
from utils.inference import core
from utils.inference.core import Analysis
from utils.inference.records import Treatment
from utils.inference.tracking.search import STRETCH_FRAMES
from utils.inference.tracking.tracks import Tracker
from utils.inference.video import sample_tables
from utils.inference.video.options import VideoOptions
from utils.inference.video.parts import show_at
from utils.inference.video.probing import read_video
from utils.inference.video_processing import get_frames, read_target
from utils.limits import DEFAULT_LIMITS, MOST_JPEG_SCANS, Limits, limits_of, video_limits_of
from utils.picture_codecs import to_eight_bit
from utils.pictures import open_picture, read_picture

FEW = Limits(frames=3)
UNREADABLE = 3


@pytest.fixture(scope="module")
def packed():
    """Half a gigabyte of zeros in half a megabyte."""
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 24)
    return b"".join(packer.compress(zeros) for _ in range(32)) + packer.flush()


def encoded(extension, shape=(64, 48, 3), **options):
    out = io.BytesIO()
    PillowImage.fromarray(np.full(shape, 120, np.uint8)).save(out, extension, **options)
    return bytearray(out.getvalue())


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def claiming(extension, side=60_000):
    """A small picture whose head says that it is huge."""
    content = encoded(extension)
    if extension == "png":
        struct.pack_into(">II", content, 16, side, side)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    elif extension == "jpeg":
        struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, side, side)
    elif extension == "bmp":
        struct.pack_into("<ii", content, 18, side, side)
    elif extension == "gif":
        struct.pack_into("<HH", content, 6, side, side)
    elif extension == "ppm":
        content = bytearray(b"P6 %d %d 255\n" % (side, side)) + bytes(100)
    elif extension == "tiff":
        for tag in (256, 257):
            place = content.index(struct.pack("<HHI", tag, 4, 1))
            struct.pack_into("<I", content, place + 8, side)
    elif extension == "webp":
        content = b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (side - 1).to_bytes(3, "little") * 2 + bytes(40)
    return bytes(content)


@pytest.mark.parametrize("extension", ["png", "jpeg", "bmp", "gif", "ppm", "tiff", "webp"])
def test_a_head_that_claims_too_much_is_enough(tmp_path, extension):
    path = tmp_path / f"bomb.{extension}"
    path.write_bytes(claiming(extension, 60_000 if extension != "bmp" else 20_000))
    with pytest.raises(
        UnreadableInput, match=r"bomb\.\w+.*too large|bomb\.\w+.*0000x.0000 pixels.*--max_megapixels 120"
    ):
        read_picture(path)


def test_a_photo_of_50_megapixels_is_within_the_default_and_the_flag_moves_it():
    assert DEFAULT_LIMITS.pixels >= 12_000 * 9_000, "of telephones"
    picture = bytes(encoded("png", (300, 500, 3)))
    assert open_picture(picture, COLLINS, Limits(megapixels=0.15)).bgr.shape == (300, 500, 3)
    with pytest.raises(UnreadableInput, match=r"500x300 pixels, more than --max_megapixels 0\.14"):
        open_picture(picture, COLLINS, Limits(megapixels=0.14))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt", b"eXIf"])
def test_a_packed_chunk_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, packed, kind):
    heads = {
        b"iCCP": b"icc\0\0",
        b"zTXt": b"Raw profile type exif\0\0",
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0",
        b"eXIf": b"",
    }
    png = bytes(encoded("png"))
    path = tmp_path / "bomb.png"
    path.write_bytes(png[:33] + chunk(kind, heads[kind] + packed) + png[33:])
    assert memory_of_reading(path) < 300 << 20


def test_a_tiff_strip_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, packed):
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), compression="zlib", photometric="rgb")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        places = [page.tags[name].valueoffset for name in ("StripOffsets", "StripByteCounts")]
    content = bytearray(path.read_bytes())
    for place, value in zip(places, (len(content), len(packed)), strict=True):
        struct.pack_into("<I", content, place, value)
    path.write_bytes(content + packed)
    assert memory_of_reading(path) < 300 << 20


def memory_of_reading(path):
    """Peak memory in bytes of a process that reads a picture, which must end well."""
    program = (
        "import sys, pathlib, contextlib\n"
        "from utils.pictures import read_picture, UnreadableInput\n"
        "with contextlib.suppress(UnreadableInput): read_picture(pathlib.Path(sys.argv[1]))\n"
        f"print({PEAK_KB})"
    )
    command = [sys.executable, "-c", program, str(path)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20).stdout) << 10


def test_a_jpeg_of_endless_scans_is_refused_and_a_film_behind_one_is_not():
    jpeg = bytes(encoded("jpeg", progressive=True))
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    with pytest.raises(UnreadableInput, match="scans"):
        open_picture(jpeg[:-2] + scan * MOST_JPEG_SCANS + jpeg[-2:], COLLINS)
    assert open_picture(jpeg + scan * MOST_JPEG_SCANS, COLLINS).bgr.shape == (64, 48, 3)


@pytest.mark.parametrize("marker", [b"\xff\x01", b"\xff\xd0", b"\xff\xd8"])
def test_scans_behind_a_marker_without_a_length_are_counted(marker):
    jpeg = bytes(encoded("jpeg", progressive=True))
    scans = jpeg[jpeg.rindex(b"\xff\xda") : -2] * MOST_JPEG_SCANS
    hidden = marker + scans + bytes(0xFFDA)  # as many as the marker of the first scan would pass over as a length
    with pytest.raises(UnreadableInput, match="scans"):
        open_picture(jpeg[:-2] + hidden + jpeg[-2:], COLLINS)


def test_sixteen_bits_become_eight_as_before():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(to_eight_bit(every), np.round(every / 257.0).astype(np.uint8))


@pytest.mark.skipif(os.name != "posix", reason="/dev/zero")
def test_a_pipe_and_a_file_without_end_are_left_in_time(command_line, tmp_path):
    flags = ("--target_image", "-", "--out_image_name", tmp_path / "out.png", "--max_megapixels", "1")
    with open("/dev/zero", "rb") as zeros:  # noqa: PTH123
        finished = command_line(*flags, stdin=zeros)
    assert finished.returncode == UNREADABLE
    assert "--max_megapixels" in finished.stderr
    sparse = tmp_path / "sparse.png"
    sparse.touch()
    os.truncate(sparse, 1 << 40)
    with pytest.raises(UnreadableInput, match="--max_megapixels"):
        read_picture(sparse)


@pytest.mark.parametrize("head", [b"", *(bytes(encoded(kind)) for kind in ("png", "jpeg", "bmp", "webp"))])
def test_a_file_larger_than_a_picture_of_its_size_is_not_read(tmp_path, monkeypatch, head):
    path = tmp_path / "sparse.png"
    path.write_bytes(head)
    os.truncate(path, 1000 << 20)
    monkeypatch.setattr("utils.pictures.open_picture", None)
    with pytest.raises(UnreadableInput, match=r"sparse\.png' has 1000 MB, too many for a picture.*; save it anew"):
        read_picture(path)


def test_a_tiff_that_says_its_size_at_its_end_is_read_up_to_the_limit_of_any_picture():
    assert Limits().check_head(COLLINS, 1000 << 20, b"II*\0" + bytes(100)) is None


def test_opencv_is_bound_where_the_head_cannot_be_read(command_line, tmp_path):
    path = tmp_path / "photo.sr"  # what Pillow refuses by its own rules, OpenCV may take
    hdr = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n" + bytes(64)
    path.write_bytes(hdr)
    finished = command_line("--target_image", path, "--out_image_name", tmp_path / "out.png")
    assert finished.returncode == UNREADABLE
    assert "Traceback" not in finished.stderr


def test_frames_are_asked_for_their_size_before_and_in_mid_stream(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", count=5)
    with pytest.raises(UnreadableInput, match=r"160x120 pixels, more than --max_megapixels 0\.01"):
        read_video(clip, Limits(megapixels=0.01))
    unnamed = make_clip(tmp_path / "clip.webm", count=1, codec="libvpx-vp9")  # its size is known to the decoder only
    with pytest.raises(UnreadableInput, match=r"or its frames are larger than --max_megapixels 0\.01"):
        read_video(unnamed, Limits(megapixels=0.01))
    for name, size in (("small.ts", (160, 120)), ("large.ts", (640, 480))):
        make_clip(tmp_path / name, count=5, size=size)
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "small.ts").read_bytes() + (tmp_path / "large.ts").read_bytes())
    video = read_target(joined, VideoOptions(limits=Limits(megapixels=0.1)))
    assert all(frame.decoded.width == 160 for frame in get_frames(video))
    free = read_target(joined, VideoOptions())
    assert {frame.decoded.width for frame in get_frames(free)} == {160, 640}


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.gif", "clip.webp", "%02d.png"])
def test_too_many_frames_are_refused_before_any_work(tmp_path, name):
    path = tmp_path / name
    run_ffmpeg("-i", COLLINS_CLIP, "-an", "-vf", "scale=64:64", "-frames:v", "5", path)
    with pytest.raises(UnreadableInput, match=r"[45] frames or more, above --max_frames 3"):
        read_target(path, VideoOptions(limits=FEW))
    assert len(list(get_frames(read_target(path, VideoOptions(limits=Limits(frames=5)))))) == 5


@pytest.mark.parametrize("flags", [(), ("--max_megapixels", "100")])
def test_photos_and_frames_have_limits_of_their_own_and_one_flag_for_both(flags):
    args = build_parser("").parse_args(flags)
    assert (limits_of(args).megapixels, video_limits_of(args).megapixels) == ((100, 100) if flags else (120, 40))
    assert VideoOptions().limits.pixels > 8192 * 4608, "8K"
    assert Limits(120).pixels > 12_000 * 9_000 > VideoOptions().limits.pixels


@pytest.mark.parametrize("name", ["clip.mp4", "%02d.png"])
def test_frames_larger_than_8k_are_refused_in_one_line_that_names_the_flag(tmp_path, name):
    run_ffmpeg("-f", "lavfi", "-i", "color=gray:size=7000x6000", "-frames:v", "1", tmp_path / name)
    with pytest.raises(UnreadableInput, match="7000x6000 pixels, more than --max_megapixels 40; "):
        read_target(tmp_path / name, VideoOptions())


def test_of_images_of_8k_a_stretch_is_held_and_no_more(pack):
    analysis, made = Analysis(pack, Tracker(pack.embedder, 0.4)), []

    def frames():
        for pts in range(20):
            image = np.zeros((72, 128, 3), np.uint8)
            made.append(weakref.ref(image))
            yield pts, image

    counts = [sum(image() is not None for image in made) for _ in analysis.follow(frames(), 3 * 7680 * 4320)]
    assert len(counts) == 20
    assert max(counts) <= STRETCH_FRAMES + 1


def test_large_frames_wait_for_a_full_batch_only_while_memory_lasts(monkeypatch):
    monkeypatch.setattr(core, "crop_face", lambda *_: None)
    monkeypatch.setattr(core, "MOST_PENDING_BYTES", 3 * 30)
    sizes, frame = [], np.zeros((2, 5, 3), np.uint8)
    generator = SimpleNamespace(max_batch=40, generate=lambda faces, _: sizes.append(len(faces)) or faces)
    record = SimpleNamespace(swaps=[(0, SimpleNamespace(track=0, face=None, treatment=Treatment()))])
    done = list(core.generate_faces([(frame, record)] * 7, SimpleNamespace(generator=generator), [None], 40))
    assert (len(done), sizes) == (7, [3, 3, 1])


def test_a_gap_of_years_is_not_filled_with_frames(tmp_path):
    video = read_video(make_clip(tmp_path / "clip.mkv", count=3))
    with pytest.raises(UnreadableInput, match="--max_frames"):
        show_at(video, range(0, 10**9, 10**7), Fraction(25))


def test_a_frame_that_is_shown_for_days_is_refused(tmp_path):
    video = read_video(make_clip(tmp_path / "clip.mkv", count=3))
    for rate in (None, Fraction(25)):
        with pytest.raises(UnreadableInput, match=r"a frame for 28 hours.*--start"):
            show_at(video, [0, 10**8], rate)
    avi = bytearray(make_clip(tmp_path / "clip.avi", count=3, codec="mpeg4").read_bytes())
    scale = avi.index(b"strh") + 8 + 20
    struct.pack_into("<II", avi, scale, 1 << 24, 25)
    (tmp_path / "slow.avi").write_bytes(avi)
    with pytest.raises(UnreadableInput, match="a frame for 186 hours"):
        read_video(tmp_path / "slow.avi")


@pytest.mark.parametrize("kind", ["stsz", "trun"])
def test_samples_that_are_announced_and_not_listed_are_counted(tmp_path, kind):
    clip, path = make_clip(tmp_path / "clip.mp4", count=5), tmp_path / "bomb.mp4"
    if kind == "trun":
        run_ffmpeg("-i", clip, "-c", "copy", "-movflags", "frag_keyframe+empty_moov", tmp_path / "fragments.mp4")
        clip = tmp_path / "fragments.mp4"
    content = bytearray(clip.read_bytes())
    place = content.index(kind.encode()) + (8 if kind == "stsz" else 4)
    struct.pack_into(">II", content, place, *((1, 60_000_000) if kind == "stsz" else (0, 60_000_000)))
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match="announces 60000000 frames"):
        read_video(path)


def test_too_many_boxes_are_refused_and_a_file_that_passed_is_walked_once(tmp_path, monkeypatch):
    clip, walked = make_clip(tmp_path / "clip.mp4", count=5), []
    boxes = sample_tables._boxes
    monkeypatch.setattr(sample_tables, "_boxes", lambda *place: walked.append(place) or boxes(*place))
    for _ in range(2):
        read_video(clip)
    assert len([place for place in walked if place[1] == 0]) == 1
    with clip.open("ab") as file:
        file.write(struct.pack(">I4s", 8, b"free") * 1000)
    monkeypatch.setattr(sample_tables, "MOST_BOXES", 1000)
    with pytest.raises(UnreadableInput, match=r"clip\.mp4' has more than 1000 boxes"):
        read_video(clip)


def test_the_flags_reach_photos_videos_and_jobs(command_line, tmp_path):
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(COLLINS)), (200, 200)))
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(f"target_image,out_image_name\n{small},{tmp_path}/out.png\n", encoding="utf-8")
    few = ("--max_megapixels", "0.05")
    for flags in (
        ("--target_image", COLLINS),
        ("--source_paths", COLLINS, "--target_image", small),
        ("--target_video", COLLINS_CLIP),
    ):
        finished = command_line(*flags, *few)
        assert finished.returncode == UNREADABLE, flags
        assert "--max_megapixels 0.05" in finished.stderr
    finished = command_line("--jobs", jobs, *few, "--source_paths", COLLINS)
    assert "--max_megapixels 0.05" in finished.stderr
    finished = command_line("--target_video", COLLINS_CLIP, "--max_frames", "99")
    assert finished.returncode == UNREADABLE
    assert "above --max_frames 99" in finished.stderr
