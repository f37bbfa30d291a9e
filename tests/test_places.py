"""Where a film was taken is not told by the result, however the original tells it."""

from __future__ import annotations

import av
import pytest
from conftest import COLLINS_CLIP
from media_makers import run_ffmpeg
from test_video_parts import process

from utils.inference.video.options import VideoOptions

PLACE, LATITUDE = "+48.8583+002.2945/", "48.858300"
CUES = {
    "flight": f"[iso: 100] [latitude: {LATITUDE}] [longitude: 2.294500]",
    "older": f"HOME(2.2945,{LATITUDE}) 2024.05.06\nGPS(2.2945,{LATITUDE},15) ISO:100",
    "spoken": "My GPS says: 48 metres. Latitude does not matter.",
}
TAGS = {"com.apple.quicktime.location.ISO6709": PLACE, "LATITUDE": LATITUDE, "xyz": PLACE, "comment_of_it": PLACE}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """One for each kind of subtitles."""
    folder = tmp_path_factory.mktemp("clips")
    for name, cue in CUES.items():
        text = "".join(f"{n}\n00:00:00,{n}00 --> 00:00:00,{n}90\n{cue}\n\n" for n in range(1, 4))
        (folder / "text.srt").write_text(text, encoding="utf-8")
        tags = [part for key, value in TAGS.items() for part in ("-metadata", f"{key}={value}")]
        inputs = ("-i", COLLINS_CLIP, "-i", folder / "text.srt", "-map", "0:v", "-map", "1", "-frames:v", 12)
        run_ffmpeg(*inputs, *tags, "-metadata", "title=Paris", "-c:v", "copy", "-c:s", "srt", folder / f"{name}.mkv")
    return folder


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("keep_gps", [False, True])
@pytest.mark.parametrize("kind", CUES)
def test_tags_and_flight_logs_go_unless_they_are_to_be_kept(clips, tmp_path, caplog, kind, keep_gps, extension):
    out = tmp_path / f"out.{extension}"
    process(clips / f"{kind}.mkv", out, VideoOptions(), keep_gps)
    with av.open(str(out)) as container:
        tags, tracks = str(dict(container.metadata)), len(container.streams.subtitles)
    content = out.read_bytes()
    assert "Paris" in tags
    assert (PLACE in tags) == keep_gps
    assert tracks == (1 if keep_gps or kind == "spoken" else 0)
    assert LATITUDE.encode() not in content or keep_gps
    assert ("tells where the film was taken" in caplog.text) == (tracks == 0)
