"""Which frames of a video are wanted, and when each is shown: `--start` and `--end`, `--out_fps`."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av

from utils.errors import BadArgument
from utils.inference.video.options import Moment
from utils.inference.video.pictures import picture_times
from utils.inference.video.probing import VideoInfo, open_video, video_stream
from utils.limits import check_pause

FINEST_TIME_BASE = Fraction(1, 10_000_000)  # that a MOV file's clock is given here


@dataclass(frozen=True)
class Timeline:
    """When the frames of a result are shown.

    Attributes:
        video: the original, with the clock and rate of the result.
        sources: of every frame of the result, the number of the original's frame that it shows; never falling.
        times: time stamp of every frame of the result, in units of `video.time_base`.
    """

    video: VideoInfo
    sources: Sequence[int]
    times: Sequence[int]


def choose_part(video: VideoInfo, start: Moment | None, end: Moment | None) -> VideoInfo:
    """`video` with the bounds of the wanted part; they are found by reading all packets, without decoding one.

    Raises:
        BadArgument: if no frame lies between the two.
    """
    if start is None and end is None:
        return video
    times = shown_times(video)
    first = 0 if start is None else _place(start, times, video)
    last = len(times) if end is None else _place(end, times, video)
    if first >= min(last, len(times)):
        length_s = float((times[-1] - times[0] + video.frame_duration) * video.time_base) if times else 0
        raise BadArgument(
            f"no frame of {str(video.path)!r} lies between --start {start or 0} and --end {end or 'its end'}; "
            f"it has {len(times)} frames and lasts {length_s:.2f} s"
        )
    return replace(
        video,
        origin=video.origin if start is None else times[first],
        start_s=None if start is None else times[first] * video.time_base,
        end_s=times[last] * video.time_base if last < len(times) else None,
        frame_count_estimate=last - first,
    )


def show_at(video: VideoInfo, pts: Sequence[int], out_fps: Fraction | None) -> Timeline:
    """The times of a result whose original has frames at `pts`.

    With a rate given, the result's n-th frame shows the last frame of the original that begins before the middle of its own time, as
    ffmpeg's filter `fps` has it: frames are repeated or left out, and none is more than half a frame away from its sound.

    Args:
        video: the original.
        pts: time stamp of every frame in units of `video.time_base`, strictly rising.
        out_fps: None keeps every frame and its time.

    Raises:
        UnreadableInput: if gaps in the original make that more frames than its limits have, or are longer than containers can say.
    """
    longest = max((later - earlier for earlier, later in pairwise(pts)), default=0)
    check_pause(video.path, longest * video.time_base)
    if out_fps is None:
        return Timeline(video, range(len(pts)), pts)
    time_base = max(_common_divisor(video.time_base, 1 / out_fps), FINEST_TIME_BASE)
    clock = replace(
        video,
        time_base=time_base,
        fps=out_fps,
        origin=round(video.origin * video.time_base / time_base),
        resampled=True,
    )
    start_s = pts[0] * video.time_base
    usual = pts[-1] - pts[-2] if len(pts) > 1 else video.frame_duration
    end_s = video.end_s if video.end_s is not None else (pts[-1] + usual) * video.time_base
    count = max(1, round((end_s - start_s) * out_fps))
    video.limits.check_frames(video.path, count)
    middles = [(start_s + (Fraction(2 * number + 1, 2)) / out_fps) / video.time_base for number in range(count)]
    sources = [bisect.bisect_left(pts, middle) - 1 for middle in middles]
    first = round(start_s / time_base)
    return Timeline(clock, sources, [first + round(number / (out_fps * time_base)) for number in range(count)])


def _place(moment: Moment, times: Sequence[int], video: VideoInfo) -> int:
    """The number of the first frame at a moment or later."""
    if moment.frame is not None:
        return moment.frame
    return bisect.bisect_left(times, math.ceil((moment.seconds or 0) / video.time_base) + video.origin)


def shown_times(video: VideoInfo) -> list[int]:
    """Time stamps of all frames, rising, out of their packets; see `video_processing` for the same of decoded frames."""
    if video.is_pictures:
        return picture_times(video)
    times: list[int] = []
    with open_video(video.path, video.limits) as container:
        try:
            for packet in container.demux(video_stream(container, video.path)):
                stamp = packet.pts if video.has_pts else packet.dts
                if packet.size and not packet.is_discard:
                    times.append(_or_next(stamp, times, video))
        except av.FFmpegError:
            pass  # a file that was cut off has the frames before
    return sorted(times)


def _or_next(stamp: Any, times: Sequence[int], video: VideoInfo) -> int:
    if stamp is not None:
        return int(stamp)
    return times[-1] + video.frame_duration if times else 0


def _common_divisor(one: Fraction, other: Fraction) -> Fraction:
    """The greatest step of which both are multiples.

    >>> _common_divisor(Fraction(1, 1000), Fraction(1001, 24000))
    Fraction(1, 24000)
    """
    denominator = math.lcm(one.denominator, other.denominator)
    return Fraction(math.gcd(int(one * denominator), int(other * denominator)), denominator)
