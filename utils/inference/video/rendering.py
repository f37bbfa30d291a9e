"""From rendered frames to the segments of a video: the encoding that fits, and the original's samples beside every result."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from utils.errors import BadArgument
from utils.inference.blending import Patch
from utils.inference.frame_records import FrameRecord
from utils.inference.image_processing import get_final_patch
from utils.inference.overlap import DEPTH, ahead
from utils.inference.records import Composition, Image
from utils.inference.video.codecs import Encoding, choose_encoding
from utils.inference.video.colour_tags import HDR_TRANSFERS
from utils.inference.video.encoding import write_segment
from utils.inference.video.frame_files import FrameFiles, stage_frame
from utils.inference.video.options import VideoOptions
from utils.inference.video.pixels import StoredFrame, encodable
from utils.inference.video.probing import VideoInfo
from utils.inference.video.workspace import publish
from utils.provenance.label import put_label
from utils.provenance.marking import Marking

logger = logging.getLogger(__name__)


def encoding_for(video: VideoInfo, out: Path, options: VideoOptions) -> Encoding:
    """The encoding of a result; says in a warning what of the original it cannot hold.

    Raises:
        BadArgument: if container, codec and quality do not fit together, or the codec would band a high dynamic range.
    """
    encoding = choose_encoding(out, video.bits, options.codec, options.crf)
    name, codec = str(video.path), encoding.codec.name
    if video.bits > encoding.layout.bits:
        transfer = HDR_TRANSFERS.get(video.colour.transfer)
        if transfer and encoding.layout.bits == 8:
            raise BadArgument(f"{name!r} is HDR ({transfer}) and {codec} has 8 bits here; use --codec hevc, av1 or vp9")
        logger.warning(f"{name!r} has {video.bits} bits a sample; {codec} keeps {encoding.layout.bits} of them")
    if encoding.size(video.width, video.height) != (video.width, video.height):
        logger.warning(
            f"{name!r}: {codec} has even sizes only; in the result the last column or row is doubled, "
            f"from {video.width}x{video.height}"
        )
    return encoding


Generate: TypeAlias = Callable[[Iterator[tuple[Image, FrameRecord]]], Iterator[Composition]]


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """A frame as it was decoded, what was generated for it, and what becomes of it; no patch leaves it as it is."""

    original: StoredFrame
    composition: Composition
    patch: Patch | None

    @property
    def result(self) -> Image:
        """The whole picture, (H, W, 3) BGR uint8."""
        return self.original.bgr if self.patch is None else self.patch.put_on(self.original.bgr)


def render_beside(
    frames: Iterable[tuple[StoredFrame, FrameRecord]], generate: Generate, label: bool, depth: int = DEPTH
) -> Iterator[RenderedFrame]:
    """Every frame with what `generate` makes of it.

    Args:
        frames: the originals with their records.
        generate: takes their pictures and gives one composition for each, in order, however many it takes ahead.
        label: whether a mark that can be seen is put on every frame.
        depth: how many compositions may wait.
    """
    waiting: deque[StoredFrame] = deque()

    def pictures() -> Iterator[tuple[Image, FrameRecord]]:
        for frame, record in frames:
            waiting.append(frame)
            yield frame.bgr, record

    for composition in ahead(generate(pictures()), depth):
        patch = get_final_patch(composition.frame, composition.aligned, composition.generated)
        if label:
            patch = put_label(composition.frame, patch)
        yield RenderedFrame(waiting.popleft(), composition, patch)


def write_rendered(
    frames: Iterable[RenderedFrame],
    segment: Path,
    first: int,
    video: VideoInfo,
    encoding: Encoding | None,
    files: FrameFiles,
    marking: Marking,
) -> None:
    """Encode the frames of a segment, and stage pictures of them in the folder of the same name without extension.

    Args:
        frames: in order.
        segment: gets its name when all is there; empty if only pictures are wanted.
        first: place of the first frame in the result.
        video: with the rate of the result.
        encoding: None if only pictures are wanted.
        files: which pictures are.
        marking: of the pictures.
    """
    staged = _staged(frames, first, segment.with_suffix(""), files, marking) if files.targets else frames
    partial = segment.with_name(f"{segment.name}.partial")
    if encoding is None:
        deque(staged, maxlen=0)
        partial.touch()
    else:
        planes = (encodable(frame.original, frame.patch, video, encoding) for frame in staged)
        write_segment(planes, partial, video, encoding)
    publish(partial, segment)


def _staged(
    frames: Iterable[RenderedFrame], first: int, folder: Path, files: FrameFiles, marking: Marking
) -> Iterator[RenderedFrame]:
    for position, frame in enumerate(frames, first):
        stage_frame(position, frame.original, frame.composition, frame.result, folder, files, marking)
        yield frame
