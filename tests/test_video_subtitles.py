"""Subtitles and chapters through the whole path, in every container."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from media_makers import Track, make_clip, run_ffmpeg
from test_video_parts import process

from utils.inference.video import subtitles
from utils.inference.video.options import Moment, VideoOptions
from utils.inference.video.probing import open_video

TEXT = """1
00:00:00,500 --> 00:00:01,500
Hello

2
00:00:02,000 --> 00:00:03,000
<i>World</i>

3
00:00:03,200 --> 00:00:03,600
Good bye
"""
CHAPTERS = ";FFMETADATA1\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
    for start, end, title in [(0, 1000, "One"), (1000, 2500, "Two"), (2500, 4000, "Three")]
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "plain.mp4", count=100, tracks=[Track(seconds=4)])
    (folder / "text.srt").write_text(TEXT)
    (folder / "chapters.txt").write_text(CHAPTERS)
    for name, codec in (("subrip.mkv", "srt"), ("ass.mkv", "ass"), ("tx3g.mp4", "mov_text")):
        run_ffmpeg(
            *("-i", folder / "plain.mp4", "-i", folder / "text.srt", "-f", "ffmetadata", "-i", folder / "chapters.txt"),
            *("-map", 0, "-map", 1, "-map_metadata", 2, "-map_chapters", 2, "-c", "copy", "-c:s", codec),
            *("-metadata:s:s:0", "language=eng", "-metadata:s:s:0", "title=For all", folder / name),
        )
    return folder


def lines(path):
    """Start, end and text of every line of the first subtitle track, in seconds, as shown."""
    found = []
    with av.open(str(path)) as container:
        track = container.streams.subtitles[0]
        assert track.language == "eng"
        for packet in container.demux(track):
            if packet.size > 2:  # two bytes of MOV text are an empty line
                text = next(word for word in ("Hello", "World", "Good bye") if word.encode() in bytes(packet))
                start = packet.pts * packet.time_base
                found.append((float(start), float(start + packet.duration * packet.time_base), text))
    return found


def chapters(path):
    with av.open(str(path)) as container:
        return [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"]["title"])
            for c in container.chapters()
        ]


def near(found, wanted):
    assert [text for *_, text in found] == [text for *_, text in wanted]
    for (start, end, _), (wanted_start, wanted_end, _) in zip(found, wanted, strict=True):
        assert (start, end) == pytest.approx((wanted_start, wanted_end), abs=0.002)


@pytest.mark.parametrize("source", ["subrip.mkv", "ass.mkv", "tx3g.mp4"])
@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv", ".webm"])
def test_subtitles_and_chapters_are_kept(clips, tmp_path, caplog, source, extension):
    out = tmp_path / f"out{extension}"
    process(clips / source, out, VideoOptions())
    near(lines(out), [(0.5, 1.5, "Hello"), (2, 3, "World"), (3.2, 3.6, "Good bye")])
    near(chapters(out), [(0, 1, "One"), (1, 2.5, "Two"), (2.5, 4, "Three")])
    assert "subtitle" not in caplog.text
    assert not list(tmp_path.glob(".swap*"))
    with av.open(str(out)) as container:
        kept = {"subrip.mkv": "srt", "ass.mkv": "ssa", "tx3g.mp4": "srt"}[source]
        wanted = {".mkv": kept, ".webm": "webvtt"}.get(extension, "mov_text")
        assert container.streams.subtitles[0].codec_context.name == wanted


@pytest.mark.parametrize("source", ["subrip.mkv", "tx3g.mp4"])
@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_a_part_has_the_lines_and_chapters_that_reach_into_it(clips, tmp_path, source, extension):
    out = tmp_path / f"out{extension}"
    process(clips / source, out, VideoOptions(start=Moment(seconds=Fraction(1)), end=Moment(frame=75)))
    near(lines(out), [(0, 0.5, "Hello"), (1, 2, "World")])
    near(chapters(out), [(0, 1.5, "Two"), (1.5, 2, "Three")])


def test_subtitles_that_are_pictures_are_left_out_with_a_warning(clips, tmp_path, caplog):
    run_ffmpeg(
        *("-i", clips / "plain.mp4", "-i", clips / "text.srt", "-map", 0, "-map", 1, "-c", "copy", "-c:s", "srt"),
        tmp_path / "in.mkv",
    )
    data = (tmp_path / "in.mkv").read_bytes()
    assert b"S_TEXT/UTF8" in data
    (tmp_path / "in.mkv").write_bytes(data.replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\0"))
    process(tmp_path / "in.mkv", tmp_path / "out.mp4", VideoOptions())
    assert "subtitle track 2 (pgssub) is left out: mp4 files cannot hold it" in caplog.text
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.subtitles


def test_more_tracks_than_a_disc_has_are_left_out_with_a_warning(clips, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(subtitles, "MOST_TRACKS", 2)
    tracks = ("-map", 0, *("-map", 1) * 5)
    run_ffmpeg("-i", clips / "plain.mp4", "-i", clips / "text.srt", *tracks, "-c:v", "copy", tmp_path / "in.mkv")
    opened = []
    monkeypatch.setattr(subtitles, "open_video", lambda *place: opened.append(place) or open_video(*place))
    process(tmp_path / "in.mkv", tmp_path / "out.mp4", VideoOptions(end=Moment(frame=2)))
    assert "3 subtitle tracks are left out: the first 2 are kept" in caplog.text
    assert len(opened) == 1 + 2 * 2, "once for all; each track, and what it was rewritten to"
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.subtitles) == 2


def test_a_track_without_a_line_that_can_be_read_is_left_out_with_a_warning(clips, tmp_path, caplog):
    (tmp_path / "blank.srt").write_text("1\n00:00:00,000 --> 00:00:00,000\n\n\n")
    inputs = ("-i", clips / "plain.mp4", "-i", tmp_path / "blank.srt", "-map", 0, "-map", 1)
    run_ffmpeg(*inputs, "-c", "copy", tmp_path / "in.mkv")
    process(tmp_path / "in.mkv", tmp_path / "out.webm", VideoOptions(end=Moment(frame=2)))
    assert "subtitle track 2 (srt) is left out: it has no line that can be read" in caplog.text
