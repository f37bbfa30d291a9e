"""The flags of the command line that only videos have; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse

from utils.errors import BadArgument
from utils.inference.video_options import CODEC_NAMES, VideoOptions

OPTIONS = ("codec", "crf")


def add_video_flags(parser: argparse.ArgumentParser) -> None:
    """Add what can be said about a video."""
    video = parser.add_argument_group("videos only")
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


def video_options(args: argparse.Namespace) -> VideoOptions:
    """What the flags say.

    Raises:
        BadArgument: if one of them is given for an image.
    """
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    if given and args.image_to_image:
        raise BadArgument(f"--{next(iter(given))} has no use for an image; leave it out")
    return VideoOptions(**given)
