"""A run that is interrupted anywhere and resumed gives the same file as one that is not."""

import json
import shutil
from fractions import Fraction

import pytest
from conftest import ROOT
from media_makers import run_ffmpeg

from utils.errors import BadArgument
from utils.evaluate.unsigned import unsigned
from utils.files import name_digest
from utils.inference.core import Analysis
from utils.inference.face_swapper import FaceSwapper
from utils.inference.tracking.checkpoint import analysis_from_json, analysis_to_json
from utils.inference.tracking.search import STRETCH_FRAMES
from utils.inference.tracking.tracks import Tracker
from utils.inference.video import subtitles
from utils.inference.video import swap as video_swap
from utils.inference.video.options import VideoOptions
from utils.inference.video_processing import get_target, read_video
from utils.provenance import manifest

FRAMES, SEGMENT_FRAMES = 25, 2 * STRETCH_FRAMES
LONG_SEGMENT_FRAMES = video_swap.SEGMENT_FRAMES
CLIP = ROOT / "examples" / "videos" / "eileen_collins.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    run_ffmpeg("-i", CLIP, "-frames:v", FRAMES, "-vf", "scale=640:-2", "-c:v", "libx264", "-bf", 2, "-g", 12, path)
    return path


def test_checkpoints_lie_between_stretches_of_the_analysis():
    assert LONG_SEGMENT_FRAMES % STRETCH_FRAMES == 0


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(video_swap, "SEGMENT_FRAMES", SEGMENT_FRAMES)


class Stopped(BaseException):
    """What a signal would be."""


def stop_after(stage, frames):
    def progress(items, description, total):
        for count, item in enumerate(items):
            if description == stage and count == frames:
                raise Stopped
            yield item

    return progress


@pytest.fixture(scope="module")
def whole(pack, hopper, clip, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    swapper = FaceSwapper(pack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_swap, "SEGMENT_FRAMES", SEGMENT_FRAMES)
        report = swapper.swap_video(clip, out, [swapper.identify(hopper, "hopper")])
    return unsigned(out), report


@pytest.mark.parametrize(
    ("stage", "frames"),
    [
        *(("analyse", 10), ("analyse", 17), ("swap", 0), ("swap", 12)),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("analyse", 3), ("swap", 24))),
    ],
)
def test_a_resumed_run_gives_the_same_file(pack, hopper, clip, whole, tmp_path, stage, frames):
    out = tmp_path / "out.mp4"
    source = FaceSwapper(pack).identify(hopper, "hopper")
    with pytest.raises(Stopped):
        FaceSwapper(pack, progress=stop_after(stage, frames)).swap_video(clip, out, [source])
    kept = list(tmp_path.glob(".swap-*"))
    assert len(kept) == (0 if (stage, frames) == ("analyse", 3) else 1), (
        "kept as soon as there is something to go on from"
    )
    done = []

    def watched(items, description, total):
        for item in items:
            done.append(description)
            yield item

    report = FaceSwapper(pack, progress=watched).swap_video(clip, out, [source], resume=True)
    assert unsigned(out) == whole[0]
    assert report == whole[1]
    assert list(tmp_path.iterdir()) == [out]
    spared = SEGMENT_FRAMES * (frames // SEGMENT_FRAMES)
    assert done.count("analyse") == (FRAMES - spared if stage == "analyse" else 0)
    assert done.count("swap") == (FRAMES - spared if stage == "swap" else FRAMES)


@pytest.fixture(scope="module")
def interrupted(pack, hopper, clip, tmp_path_factory):
    """The folder of a run that was stopped when two of three segments were rendered."""
    folder = tmp_path_factory.mktemp("interrupted")
    source = FaceSwapper(pack).identify(hopper, "hopper")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(video_swap, "SEGMENT_FRAMES", SEGMENT_FRAMES)
        FaceSwapper(pack, progress=stop_after("swap", 20)).swap_video(clip, folder / "out.mp4", [source])
    return folder


@pytest.mark.parametrize(
    ("name", "content", "analysed", "swapped"),
    [
        ("checkpoint.json", b"garbage", FRAMES, FRAMES),
        ("seen.jsonl", None, FRAMES, FRAMES),
        ("segment_000000.mp4", b"garbage", 0, FRAMES - SEGMENT_FRAMES),
        ("segment_000001.mp4", CLIP.read_bytes(), 0, FRAMES - SEGMENT_FRAMES),
    ],
)
def test_what_was_damaged_meanwhile_is_made_again(
    pack, hopper, clip, whole, interrupted, tmp_path, caplog, name, content, analysed, swapped
):
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    (kept,) = tmp_path.glob(".swap-*")
    (kept / name).unlink()
    if content is not None:
        (kept / name).write_bytes(content)
    done = []

    def watched(items, description, total):
        for item in items:
            done.append(description)
            yield item

    source = FaceSwapper(pack).identify(hopper, "hopper")
    FaceSwapper(pack, progress=watched).swap_video(clip, tmp_path / "out.mp4", [source], resume=True)
    assert unsigned(tmp_path / "out.mp4") == whole[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "out.mp4"]
    assert (done.count("analyse"), done.count("swap")) == (analysed, swapped)
    assert ("is damaged and not used" in caplog.text) == bool(analysed)


def test_what_other_settings_left_behind_is_not_resumed(pack, hopper, clip, tmp_path, caplog):
    out = tmp_path / "out.mp4"
    source = FaceSwapper(pack).identify(hopper, "hopper")
    with pytest.raises(Stopped) as stopped:
        FaceSwapper(pack, progress=stop_after("swap", 20)).swap_video(clip, out, [source])
    assert "--resume" in "".join(stopped.value.__notes__)
    done = []

    def watched(items, description, total):
        done.append(description)
        return items

    with pytest.raises(Stopped):
        FaceSwapper(pack, similarity_th=0.4, progress=stop_after("analyse", 0)).swap_video(
            clip, out, [source], resume=True
        )
    assert "other files or settings" in caplog.text
    assert "nothing to resume" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_without_resume_what_was_left_behind_is_removed(pack, hopper, clip, whole, tmp_path):
    out = tmp_path / "out.mp4"
    source = FaceSwapper(pack).identify(hopper, "hopper")
    with pytest.raises(Stopped):
        FaceSwapper(pack, progress=stop_after("swap", 20)).swap_video(clip, out, [source])
    (kept,) = tmp_path.glob(".swap-*")
    for segment in kept.glob("segment_*"):
        segment.write_bytes(b"not to be used")
    FaceSwapper(pack).swap_video(clip, out, [source])
    assert unsigned(out) == whole[0]
    assert list(tmp_path.iterdir()) == [out]


def test_the_state_of_an_analysis_survives_json_exactly(pack, clip):
    frames = list(get_target(read_video(clip)))
    through = Analysis(pack, Tracker(pack.embedder, 0.5))
    wanted = list(through.analyse(frames))
    first = Analysis(pack, Tracker(pack.embedder, 0.5))
    records = list(first.analyse(frames[:10]))
    text = json.dumps(analysis_to_json(first))
    again = analysis_from_json(json.loads(text), records[-1], pack, 0.5)
    assert json.dumps(analysis_to_json(again)) == text
    rest = list(again.analyse(frames[10:]))
    assert [record.index for record in rest] == list(range(10, FRAMES))
    assert json.dumps(analysis_to_json(again)) == json.dumps(analysis_to_json(through))
    for found, expected in zip(rest, wanted[10:], strict=True):
        assert [face.track for face in found.faces] == [face.track for face in expected.faces]
        assert [face.face.landmarks.tobytes() for face in found.faces] == [
            face.face.landmarks.tobytes() for face in expected.faces
        ]


@pytest.mark.parametrize("fps", [pytest.param(None, marks=pytest.mark.slow), 40])
def test_pictures_and_another_rate_survive_an_interruption(pack, hopper, clip, tmp_path, fps):
    source = FaceSwapper(pack).identify(hopper, "hopper")
    results = []
    for name in ("whole", "halves"):
        folder = tmp_path / name
        options = VideoOptions(keep_frames=folder / "frames", matte=folder / "matte", out_fps=fps and Fraction(fps))
        arguments = (clip, folder / "out.mp4", [source])
        if name == "halves":
            with pytest.raises(Stopped):
                FaceSwapper(pack, progress=stop_after("swap", 13)).swap_video(*arguments, options=options)
        FaceSwapper(pack).swap_video(*arguments, resume=name == "halves", options=options)
        files = [path for path in folder.rglob("*") if path.is_file()]
        results.append({str(path.relative_to(folder)): unsigned(path) for path in files})
    assert len(results[0]) == 1 + 3 * (40 if fps else FRAMES)
    assert results[0] == results[1]


def test_whatever_a_run_writes_meanwhile_has_a_name_that_the_next_one_finds(pack, hopper, clip, tmp_path, monkeypatch):
    """Rewritten subtitles, the joined video and the signed one, too: a run that is killed leaves them all."""
    subtitled = tmp_path / "in" / "subtitled.mkv"
    subtitled.parent.mkdir()
    (tmp_path / "in" / "text.srt").write_text("1\n00:00:00,100 --> 00:00:00,500\nHello\n")
    run_ffmpeg("-i", clip, "-i", tmp_path / "in" / "text.srt", "-c", "copy", "-c:s", "srt", subtitled)
    out, seen = tmp_path / "out" / "out.mp4", []

    def watched(function):
        def watch(*arguments):
            seen.append({path.name for path in out.parent.iterdir()})
            return function(*arguments)

        return watch

    monkeypatch.setattr(subtitles, "_rewrite", watched(subtitles._rewrite))
    monkeypatch.setattr(manifest, "sign_file", watched(manifest.sign_file))
    FaceSwapper(pack).swap_video(subtitled, out, [FaceSwapper(pack).identify(hopper, "hopper")])
    assert len(seen) == 2
    digest = name_digest(out.name)
    for names in seen:
        assert sorted(name.split(digest)[0] for name in names) == [".swap-", ".swap-part-"]


def test_two_runs_for_one_output_do_not_touch_each_other(pack, hopper, clip, whole, tmp_path):
    """While one is at work, a second with the same settings works in a folder of its own, and one that wants to resume is refused."""
    out = tmp_path / "out.mp4"
    source = FaceSwapper(pack).identify(hopper, "hopper")
    seen = []

    def interfering(items, description, total):
        for count, item in enumerate(items):
            if (description, count) == ("swap", 12):
                with pytest.raises(BadArgument, match="goes on already"):
                    FaceSwapper(pack).swap_video(clip, out, [source], resume=True)
                FaceSwapper(pack).swap_video(clip, out, [source])
                seen.append(unsigned(out))
                out.unlink()
            yield item

    FaceSwapper(pack, progress=interfering).swap_video(clip, out, [source])
    assert seen == [whole[0]]
    assert unsigned(out) == whole[0]
    assert list(tmp_path.iterdir()) == [out]
