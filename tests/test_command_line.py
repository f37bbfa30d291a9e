"""The command line as a user runs it: real files in, real files, messages and exit codes out."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT
from PIL import Image as PillowImage

from utils.evaluate.unsigned import unsigned
from utils.flags import build_parser
from utils.one_swap import complete
from utils.provenance.marks import DIGITAL_SOURCE_TYPE

IMAGE = ("--image_to_image", "True")
DONE, BAD_ARGUMENT, UNREADABLE, NO_FACE, MODEL_FILES, UNWRITABLE, SOME_FAILED, INTERRUPTED = 0, 2, 3, 4, 5, 6, 10, 130
OLD = b"what was here before"


@pytest.fixture(scope="module")
def media(tmp_path_factory, collins):
    """A folder of good, odd and broken inputs."""
    folder = tmp_path_factory.mktemp("media")
    jpeg = cv2.imencode(".jpg", collins)[1].tobytes()
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is no picture\n" * 50)
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "truncated.mp4").write_bytes(COLLINS_CLIP.read_bytes()[:-200_000])
    (folder / "a folder.jpg").mkdir()
    cv2.imwrite(str(folder / "dot.png"), collins[:1, :1])
    cv2.imwrite(str(folder / "no_face.png"), np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
    cv2.imwrite(str(folder / "grey.png"), cv2.cvtColor(collins, cv2.COLOR_BGR2GRAY))
    alpha = np.tile(np.arange(512, dtype=np.uint8)[:, None] // 2, (1, 512))
    cv2.imwrite(str(folder / "alpha.png"), np.dstack([collins, alpha]))
    deep = collins.astype(np.uint16) * 257
    deep[::2] ^= 3
    cv2.imwrite(str(folder / "deep.png"), deep)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(np.rot90(collins[:, :, ::-1])).save(folder / "rotated.png", exif=exif)
    cv2.imwrite(str(folder / "huge.jpg"), cv2.resize(collins, (8000, 8000), interpolation=cv2.INTER_LINEAR))
    with av.open(folder / "no_face.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, width=160, height=120, pix_fmt="yuv420p")
        for level in range(30):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.full((120, 160, 3), level * 8, np.uint8), "bgr24"))
            )
        container.mux(stream.encode())
    return folder


def assert_fails(finished, code, *words):
    """The documented code, one line that says what and where, and nothing on stdout."""
    assert finished.returncode == code, finished.stderr
    assert finished.stdout == ""
    errors = [line for line in finished.stderr.splitlines() if not line.startswith(("pack:", "usage:", " "))]
    assert len(errors) == 1, finished.stderr
    for word in words:
        assert word in errors[0]


def test_a_bare_image_run_swaps_the_example(command_line, tmp_path):
    out = tmp_path / "new folder" / 'it\'s "mine" \u00e9.png'
    finished = command_line(*IMAGE, "--out_image_name", out)
    assert finished.returncode == DONE, finished.stderr
    assert finished.stdout == f"{out}\n"
    assert "Total time:" in finished.stderr
    result, original = cv2.imdecode(np.fromfile(out, np.uint8), cv2.IMREAD_UNCHANGED), cv2.imread(str(COLLINS))
    changed = (result != original).any(axis=2)
    assert 2000 < changed.sum() < 20_000, "the face, and only the face"
    assert not changed[220:].any()
    assert not changed[:, 340:].any()
    assert DIGITAL_SOURCE_TYPE.encode() in out.read_bytes()
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("name", ["grey.png", "alpha.png", "deep.png", "rotated.png"])
def test_every_kind_of_picture_keeps_its_kind(command_line, media, tmp_path, name):
    out = tmp_path / "result.png"
    finished = command_line("--target_image", media / name, "--out_image_name", out, "--quiet")
    assert (finished.returncode, finished.stderr) == (DONE, "")
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    before, after = cv2.imread(str(media / name), flags), cv2.imread(str(out), flags)
    assert after.dtype == before.dtype
    assert after.shape == before.shape
    changed = after != before if before.ndim == 2 else (after != before).any(axis=2)
    assert 2000 < changed.sum() < 20_000
    rows, columns = np.nonzero(np.rot90(changed, -1) if name == "rotated.png" else changed)
    assert rows.min() > 40 and rows.max() < 220
    assert columns.min() > 140 and columns.max() < 340
    if name == "alpha.png":
        np.testing.assert_array_equal(after[..., 3], before[..., 3])
    with PillowImage.open(out) as written, PillowImage.open(media / name) as original:
        assert written.getexif().get(0x0112) == original.getexif().get(0x0112)


def test_a_huge_picture_is_swapped(command_line, media, tmp_path):
    finished = command_line("--target_image", media / "huge.jpg", "--out_image_name", tmp_path / "result.jpg")
    assert finished.returncode == DONE, finished.stderr
    assert cv2.imread(str(tmp_path / "result.jpg")).shape == (8000, 8000, 3)


def test_the_same_command_gives_the_same_pixels(command_line, tmp_path):
    for name in ("one.png", "two.png"):
        assert command_line(*IMAGE, "--out_image_name", tmp_path / name).returncode == DONE
    assert unsigned(tmp_path / "one.png") == unsigned(tmp_path / "two.png")


def packets(path, kind):
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [
            (float(p.pts * p.time_base), bytes(p))
            for stream in streams
            for p in container.demux(stream)
            if p.pts is not None
        ]


def test_a_video_keeps_its_frames_times_and_sound(command_line, tmp_path):
    out = tmp_path / "result.mp4"
    finished = command_line("--out_video_name", out)
    assert finished.returncode == DONE, finished.stderr
    assert finished.stdout == f"{out}\n"
    assert "swapped 100 faces in 100 frames" in finished.stderr
    assert packets(out, "audio") == packets(COLLINS_CLIP, "audio")
    times = [sorted(time for time, _ in packets(path, "video")) for path in (out, COLLINS_CLIP)]
    assert times[0] == times[1]
    with av.open(str(out)) as container, av.open(str(COLLINS_CLIP)) as original:
        video, wanted = container.streams.video[0], original.streams.video[0]
        assert (video.width, video.height, video.average_rate) == (wanted.width, wanted.height, wanted.average_rate)
        assert video.codec_context.name == "h264"
        assert DIGITAL_SOURCE_TYPE in container.metadata["comment"]
        pairs = zip(container.decode(video=0), original.decode(video=0), strict=True)
        for number, (frame, before) in enumerate(pairs):
            if number % 25 == 10:
                distance = np.abs(frame.to_ndarray(format="bgr24").astype(int) - before.to_ndarray(format="bgr24"))
                assert distance[:, :400].mean() < 1.5, "the background is visually lossless"
                assert distance[150:350, 560:720].mean() > 8, "the face is swapped"
    assert list(tmp_path.iterdir()) == [out]


def test_a_part_of_a_video_is_swapped_and_written(command_line, tmp_path):
    out = tmp_path / "part.mp4"
    finished = command_line("--start", "90f", "--end", "00:00:03.8", "--out_video_name", out)
    assert finished.returncode == DONE, finished.stderr
    assert "swapped 5 faces in 5 frames" in finished.stderr
    with av.open(str(out)) as container:
        assert [round(frame.time * 25) for frame in container.decode(video=0)] == list(range(5))


def test_chosen_persons_get_their_own_sources(command_line, tmp_path, collins, hopper):
    both = np.hstack([collins[:500], cv2.resize(hopper[:500], (512, 500))])
    cv2.imwrite(str(tmp_path / "both.png"), both)
    out = tmp_path / "result.png"
    finished = command_line(
        "--source_paths",
        COLLINS,
        HOPPER,
        "--target_faces_paths",
        HOPPER,
        COLLINS,
        "--target_image",
        tmp_path / "both.png",
        "--out_image_name",
        out,
    )
    assert finished.returncode == DONE, finished.stderr
    assert "swapped 2 faces" in finished.stderr
    changed = (cv2.imread(str(out)) != both).any(axis=2)
    assert changed[:, :512].any()
    assert changed[:, 512:].any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--no_such_flag",), ["--no_such_flag"]),
        (("--image_to_image", "maybe"), ["neither True nor False"]),
        (("--similarity_th", "nan"), ["nan"]),
        (("--batch_size", "0"), ["at least 1"]),
        ((*IMAGE, "--target_video", COLLINS_CLIP), ["--target_video"]),
        (("--image_to_image", "False", "--target_image", COLLINS), ["--target_image"]),
        (("--target_image", COLLINS, "--target_video", COLLINS_CLIP), ["--image_to_image"]),
        ((*IMAGE, "--out_image_name", "result.xyz"), ["result.xyz", ".png"]),
        (("--out_video_name", "result.xyz"), ["result.xyz", ".mp4"]),
        ((*IMAGE, "--target_image", COLLINS, "--out_image_name", COLLINS), ["nothing is overwritten"]),
        ((*IMAGE, "--source_paths", HOPPER, COLLINS), ["--target_faces_paths"]),
        ((*IMAGE, "--source_paths", HOPPER, "--target_faces_paths", HOPPER, COLLINS), ["one source for each person"]),
        ((*IMAGE, "--pack", "builtin", "--use_sr"), ["--use_sr", "ghost pack"]),
        (("--codec", "h265"), ["h265", "hevc"]),
        (("--codec", "prores"), ["prores", "result.mp4", "*.mov"]),
        (("--start", "1.5s"), ["1.5s", "00:01:02.5", "120f"]),
        (("--start", "9"), ["--start 9", "100 frames"]),
        (("--out_fps", "0"), ["--out_fps", "30000/1001"]),
        ((*IMAGE, "--crf", "20"), ["--crf", "image"]),
        ((*IMAGE, "--strength", "1.1"), ["1.1", "0 to 1"]),
        ((*IMAGE, "--device", "gpu"), ["gpu", "cuda:1"]),
        ((*IMAGE, "--pack", "builtin", "--device", "cuda"), ["--device cuda"]),
    ],
)
def test_bad_arguments(command_line, tmp_path, arguments, words):
    assert_fails(command_line(*arguments), BAD_ARGUMENT, *words)


@pytest.mark.parametrize("name", ["missing.jpg", "empty.jpg", "text.jpg", "truncated.jpg", "a folder.jpg", "dot.png"])
@pytest.mark.parametrize("flag", ["--target_image", "--source_paths"])
def test_pictures_that_cannot_be_read(command_line, media, tmp_path, name, flag):
    out = tmp_path / "result.png"
    out.write_bytes(OLD)
    assert_fails(command_line(*IMAGE, flag, media / name, "--out_image_name", out), UNREADABLE, name)
    assert out.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "name", ["missing.mp4", "empty.mp4", "text.mp4", "truncated.mp4", "a folder.jpg", "no_face.png"]
)
def test_videos_that_cannot_be_read(command_line, media, tmp_path, name):
    out = tmp_path / "result.mp4"
    out.write_bytes(OLD)
    assert_fails(command_line("--target_video", media / name, "--out_video_name", out), UNREADABLE, name)
    assert out.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target_image", "no_face.png"), ["no_face.png", "best score", "--det_thresh"]),
        ((*IMAGE, "--source_paths", "no_face.png"), ["no_face.png", "best score"]),
        ((*IMAGE, "--target_faces_paths", HOPPER), ["grace_hopper.jpg", "best similarity", "--similarity_th"]),
        (("--target_video", "no_face.mp4"), ["no_face.mp4", "30 frames", "best score"]),
    ],
)
def test_nobody_to_swap(command_line, media, tmp_path, arguments, words):
    placed = [media / word if isinstance(word, str) and word.startswith("no_face") else word for word in arguments]
    out = tmp_path / ("result.mp4" if "--target_video" in arguments else "result.png")
    out.write_bytes(OLD)
    flag = "--out_video_name" if out.suffix == ".mp4" else "--out_image_name"
    assert_fails(command_line(*placed, flag, out), NO_FACE, *words)
    assert out.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_outputs_that_cannot_be_written(command_line, tmp_path, kind):
    (tmp_path / "file").write_bytes(OLD)
    flag, name = ("--out_image_name", "result.png") if kind == "image" else ("--out_video_name", "result.mp4")
    assert_fails(command_line(flag, tmp_path / "file" / name), UNWRITABLE, "file", "cannot write")
    (tmp_path / name).mkdir()
    assert_fails(command_line(flag, tmp_path / name), UNWRITABLE, "is a folder")
    assert (tmp_path / "file").read_bytes() == OLD


@pytest.mark.skipif(os.name != "posix", reason="FIFOs of POSIX")
def test_pipes_are_neither_read_nor_replaced(command_line, tmp_path):
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    assert_fails(
        command_line(*IMAGE, "--target_image", fifo, "--out_image_name", tmp_path / "a.png"), UNREADABLE, "fifo"
    )
    assert_fails(command_line(*IMAGE, "--out_image_name", fifo), UNWRITABLE, "not a plain file")
    assert fifo.is_fifo()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_stays_a_link(command_line, tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    assert command_line(*IMAGE, "--out_image_name", tmp_path / "link.png").returncode == DONE
    assert (tmp_path / "link.png").is_symlink()
    assert cv2.imread(str(tmp_path / "target.png")) is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("redirection", "code"),
    [("| head -c 0", DONE), (">/dev/full", UNWRITABLE), ("2>/dev/full", DONE), ("2>&-", DONE)],
)
def test_a_broken_stdout_or_stderr_costs_no_result(tmp_path, redirection, code):
    out = tmp_path / "r\u00e9sult.png"
    command = shlex.join([sys.executable, str(ROOT / "inference.py"), "--out_image_name", str(out)])
    program = f"set -o pipefail; {command} {redirection}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    finished = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert finished.returncode == code, finished.stderr
    assert "Traceback" not in finished.stderr
    assert cv2.imdecode(np.fromfile(out, np.uint8), cv2.IMREAD_COLOR) is not None


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_the_folder_script_keeps_names_and_photos(tmp_path, media):
    script, photos, results = ROOT / "examples" / "swap_folder.sh", tmp_path / "photos", tmp_path / "results"
    photos.mkdir()
    for name in ("one.jpg", "one.png", "-two.png"):
        cv2.imwrite(str(photos / name), cv2.imread(str(COLLINS)))
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    assert subprocess.run([script, HOPPER, photos, photos], check=False, capture_output=True).returncode == BAD_ARGUMENT
    assert subprocess.run([script, HOPPER, photos, results], check=False, capture_output=True).returncode == DONE
    assert sorted(path.name for path in results.iterdir()) == sorted([*before, "results.jsonl"])
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    shutil.copy(media / "truncated.jpg", photos)
    assert subprocess.run([script, HOPPER, photos, results], check=False, capture_output=True).returncode == SOME_FAILED
    (tmp_path / "nothing").mkdir()
    assert (
        subprocess.run([script, HOPPER, tmp_path / "nothing", results], check=False, capture_output=True).returncode
        != DONE
    )


def test_a_damaged_pack_is_named(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "results", "__pycache__"))
    damaged = copy / "weights" / "builtin" / "face_detection_back.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    command = [sys.executable, str(copy / "inference.py"), *IMAGE]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_fails(finished, MODEL_FILES, "face_detection_back.onnx")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGHUP))]
)
def test_an_interrupted_video_leaves_no_half_file_and_can_be_resumed(command_line, tmp_path, number):
    out = tmp_path / "result.mp4"
    out.write_bytes(OLD)
    flags = ("--end", "70f", "--out_video_name", str(out))
    command = [sys.executable, str(ROOT / "inference.py"), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".swap-*/segment_*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "--resume" in stderr
    assert out.read_bytes() == OLD
    assert sorted(path.name[:6] for path in tmp_path.iterdir()) == [".swap-", "result"]
    finished = command_line(*flags, "--resume")
    assert finished.returncode == DONE, finished.stderr
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_bytes() != OLD


def test_help_tells_defaults_and_exit_codes(command_line):
    finished = command_line("--help")
    assert finished.returncode == DONE
    for words in ("higher is stricter", "ghost 0.15", "builtin 0.5", "130", "exit codes"):
        assert words in finished.stdout


def test_flags_keep_their_documented_defaults():
    args = complete(build_parser("test").parse_args([]))
    assert args.batch_size == 40
    assert args.image_to_image is False
    assert args.use_sr is False
    assert args.target_faces_paths == []
    assert build_parser("test").parse_args(["--image_to_image"]).image_to_image is True
    assert build_parser("test").parse_args(["--image_to_image", "False"]).image_to_image is False
