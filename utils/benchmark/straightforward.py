"""What the ghost pack's speed is measured against: the same models in eager PyTorch, FP32, one step and one frame after another.

No batches, no threads of its own, no record of what was seen before: every face of every frame is detected, embedded, swapped, masked
and pasted. Source: the order of GHOST's inference (doi 10.1109/ACCESS.2022.3196668).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.packs import GhostOptions, load_ghost_pack
from utils.devices import Placement
from utils.inference.blending import Patch
from utils.inference.image_processing import get_final_image
from utils.inference.model_pack import ModelPack
from utils.inference.records import Embedding, Identity, Image
from utils.inference.tracking.matching import cosine_similarities, match_faces
from utils.inference.video.options import VideoOptions
from utils.inference.video.rendering import encoding_for
from utils.inference.video_processing import (
    StoredFrame,
    encodable,
    get_final_video,
    get_frames,
    read_target,
    write_segment,
)

EAGER = Placement(torch.device("cpu"), torch.float32, ("CPUExecutionProvider",))


def load_eager_pack(options: GhostOptions, det_thresh: float | None) -> ModelPack:
    """The ghost pack in eager PyTorch on the CPU, one face at a time.

    Raises:
        ModelFileError: if files are missing or damaged.
    """
    return load_ghost_pack(replace(options, batch_size=1), det_thresh, EAGER)


def swap_frames(frames: Iterable[Image], pack: ModelPack, source: Identity) -> Iterator[Image]:
    """Swap one person's face, frame by frame.

    Args:
        frames: (H, W, 3) BGR uint8.
        pack: of `load_eager_pack`.
        source: who is put in, for the largest face of the first frame that has one.

    Returns:
        The finished frames, in order.
    """
    person: Embedding | None = None
    for frame in frames:
        faces, _ = pack.detector.detect(frame)
        if not faces:
            yield frame
            continue
        vectors = [pack.embedder.embed(frame, face) for face in faces]
        if person is None:
            person = vectors[max(range(len(faces)), key=lambda number: faces[number].area)]
        similarities = cosine_similarities([person], vectors)
        chosen = match_faces(similarities, np.full_like(similarities, pack.similarity_th))
        aligned = [pack.generator.align(frame, faces[number]) for number in chosen]
        yield get_final_image(frame, aligned, pack.generator.generate(aligned, [source] * len(aligned)))


def swap_video(target: Path, out: Path, pack: ModelPack, source: Identity, options: VideoOptions) -> int:
    """Swap a video with the encoding and the sound of the real run; return the number of frames."""
    video = read_target(target, options)
    encoding = encoding_for(video, out, options)
    pts: list[int] = []
    stored: list[StoredFrame] = []

    def pictures() -> Iterator[Image]:
        for frame in get_frames(video):
            pts.append(frame.pts)
            stored[:] = [frame]
            yield frame.bgr

    results = swap_frames(pictures(), pack, source)
    segment = out.with_name("straightforward.mp4")
    planes = (encodable(stored[0], Patch(0, 0, result), video, encoding) for result in results)
    write_segment(planes, segment, video, encoding)
    get_final_video([segment], pts, video, out)
    return len(pts)
