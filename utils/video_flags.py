"""The flags of the command line that only videos have; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from pathlib import Path

from utils.errors import BadArgument
from utils.inference.video.options import CODEC_NAMES, Moment, VideoOptions
from utils.limits import video_limits_of

OPTIONS = ("start", "end", "out_fps", "in_fps", "codec", "crf", "keep_frames", "matte")
OUTPUT_FLAGS = ("resume", "out_fps", "codec", "crf", "keep_frames", "matte", "out_video_name", "out_image_name")
MAX_FPS = 1000
NTSC_DIVISOR = 1001  # of 24000/1001, 30000/1001, 60000/1001
# Read before a number is made of it: an exponent can ask for gigabytes of digits, and a few hundred are more than a float holds.
DECIMAL = r"(?:\d{1,9}(?:\.\d{0,20})?|\.\d{1,20})"
FRAME = re.compile(r"(\d{1,9})f", re.ASCII)
TIME = re.compile(rf"(?:\d{{1,9}}:){{0,2}}{DECIMAL}", re.ASCII)
RATE = re.compile(rf"{DECIMAL}|\d{{1,9}}/\d{{1,9}}", re.ASCII)


def moment(text: str) -> Moment:
    """An argparse type: `1.5`, `01:02.5` or `00:01:02.5` for a time, `120f` for a frame.

    >>> str(moment("00:01:02.5")), str(moment("120f"))
    ('62.5', '120f')
    """
    if frame := FRAME.fullmatch(text):
        return Moment(frame=int(frame[1]))
    if not TIME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a time (1.5, 00:01:02.5) nor a frame (120f)")
    seconds = Fraction(0)
    for part in text.split(":"):
        seconds = 60 * seconds + Fraction(part)
    return Moment(seconds=seconds)


def frame_rate(text: str) -> Fraction:
    """An argparse type: `25`, `29.97` or `30000/1001`; the decimals of NTSC rates stand for the exact ones.

    >>> frame_rate("25"), frame_rate("29.97"), frame_rate("24000/1001")
    (Fraction(25, 1), Fraction(30000, 1001), Fraction(24000, 1001))
    """
    try:
        rate = Fraction(text) if RATE.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    ntsc = Fraction(1000 * round(rate * NTSC_DIVISOR / 1000), NTSC_DIVISOR)
    if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 200):
        rate = ntsc
    if not 0 < rate <= MAX_FPS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate (25, 29.97, 30000/1001)")
    return rate.limit_denominator(NTSC_DIVISOR)


def add_video_flags(parser: argparse.ArgumentParser) -> None:
    """Add what can be said about a video."""
    video = parser.add_argument_group("videos only")
    video.add_argument(
        "--start",
        type=moment,
        metavar="T",
        help="swap and write only from here on: seconds (1.5), 00:01:02.5, or a frame (120f)",
    )
    video.add_argument("--end", type=moment, metavar="T", help="the first moment, or frame, that is left out")
    video.add_argument(
        "--out_fps",
        type=frame_rate,
        metavar="N",
        help="constant frame rate, by repeating or leaving out frames (default: every frame keeps its time)",
    )
    video.add_argument(
        "--in_fps", type=frame_rate, metavar="N", help="frame rate of numbered pictures as target (default: 25)"
    )
    video.add_argument(
        "--codec",
        choices=CODEC_NAMES,
        metavar="NAME",
        help=f"{', '.join(CODEC_NAMES)} (default: h264; hevc if the target has 10 bits; vp9 in .webm)",
    )
    video.add_argument(
        "--crf",
        type=int,
        metavar="N",
        help="quality on the codec's own scale, lower is better and larger (default: hardly to be told from the original)",
    )
    video.add_argument(
        "--keep_frames",
        type=Path,
        metavar="DIR",
        help="write the frames of the result as PNG into this new folder, too",
    )
    video.add_argument(
        "--matte",
        type=Path,
        metavar="DIR",
        help="for compositing elsewhere: write the unblended faces (face/) and 16-bit masks (mask/) into this new folder",
    )


def refuse_output_flags(args: argparse.Namespace) -> None:
    """Refuse what is said about an output where there is none.

    Raises:
        BadArgument: naming the flag.
    """
    for name in OUTPUT_FLAGS:
        value = getattr(args, name)
        if value is not None and value is not False:  # a quality of 0 is said, too
            raise BadArgument(f"--{name} has no use with --list_faces, which swaps nothing; leave it out")


def video_options(args: argparse.Namespace) -> VideoOptions:
    """What the flags say.

    Raises:
        BadArgument: if one of them is given for an image.
    """
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    if given and args.image_to_image:
        raise BadArgument(f"--{next(iter(given))} has no use for an image; leave it out")
    return VideoOptions(**given, limits=video_limits_of(args))
