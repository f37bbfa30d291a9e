"""Every shared clip through the command line, with a flash-and-beep track, at constant and at variable frame rate."""

from itertools import pairwise

import av
import pytest
from conftest import HOPPER, ROOT
from media_makers import beep_times, flash_times, frame_times, payloads, run_ffmpeg

CLIPS = sorted((ROOT.parent / "shared" / "media" / "videos").glob("*.mp4"))
BEEP = "if(lt(mod(t\\,1)\\,0.08)\\,0.5*sin(2*PI*1000*t)\\,0)"


def with_flash_and_beep(clip, out, variable):
    """A copy whose first frame of every second is white, with a beep at that instant; if `variable`, some frames are left out."""
    with av.open(str(clip)) as container:
        rate = float(container.streams.video[0].average_rate)
    flash = f"drawbox=color=white:t=fill:enable='lt(mod(t\\,1)+0.0005\\,{1 / rate})'"
    dropped = f",select='not(eq(mod(n\\,7)\\,3))+lt(mod(t\\,1)+0.0005\\,{1 / rate})'" if variable else ""
    sound = ("-f", "lavfi", "-i", f"aevalsrc={BEEP}:s=44100")
    mapping = (
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-shortest",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-crf",
        14,
        "-c:a",
        "aac",
    )
    run_ffmpeg("-i", clip, *sound, "-vf", flash + dropped, *mapping, out)


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS, reason="the shared clips are not here")
@pytest.mark.parametrize("variable", [False, True], ids=["constant", "variable"])
@pytest.mark.parametrize("clip", [clip for clip in CLIPS if "mask" not in clip.name], ids=lambda path: path.stem[:12])
def test_a_swapped_clip_keeps_frames_times_and_sound(command_line, tmp_path, clip, variable):
    target, out = tmp_path / "target.mp4", tmp_path / "out.mp4"
    with_flash_and_beep(clip, target, variable)
    finished = command_line("--source_paths", HOPPER, "--target_video", target, "--out_video_name", out)
    assert finished.returncode == 0, finished.stderr
    times = frame_times(target)
    assert frame_times(out) == times
    assert payloads(out) == payloads(target)
    with av.open(str(target)) as before, av.open(str(out)) as after:
        assert abs(before.duration - after.duration) <= 1000  # microseconds: a tick of the movie's clock
        for attribute in ("width", "height"):
            assert getattr(before.streams.video[0], attribute) == getattr(after.streams.video[0], attribute)
    flashes, beeps = flash_times(out), beep_times(out)
    assert len(flashes) >= 3
    longest_frame_s = max(float(later - earlier) for earlier, later in pairwise(times))
    for flash, beep in zip(flashes, beeps, strict=False):
        assert abs(flash - beep) <= longest_frame_s
