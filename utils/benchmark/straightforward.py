"""What the ghost pack's speed is measured against: the same models in eager PyTorch, FP32, one step and one frame after another.

No batches, no threads of its own, no record of what was seen before: every face of every frame is detected, embedded, swapped, masked
and pasted. Source: the order of GHOST's inference (doi 10.1109/ACCESS.2022.3196668).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from arcface_model.arcface_embedder import ArcFaceEmbedder
from models.checkpoints import load_aei_net, load_iresnet100
from models.ghost_generator import CropLandmarker, GhostGenerator
from utils.devices import Placement
from utils.inference.image_processing import get_final_image
from utils.inference.records import Detector, Embedding, Identity, Image
from utils.inference.tracking.matching import cosine_similarities, match_faces

EAGER = Placement(torch.device("cpu"), torch.float32, ("CPUExecutionProvider",))


class StraightforwardSwap:
    """Swaps one person's face in the frames of a video.

    Args:
        detector, landmarker: as the ghost pack has them, on onnxruntime.
        backbone_path: IResNet-100's weights.
        generator_path: AEI-Net's.
    """

    def __init__(
        self, detector: Detector, landmarker: CropLandmarker, backbone_path: Path, generator_path: Path
    ) -> None:
        self._detector = detector
        self._embedder = ArcFaceEmbedder(load_iresnet100(backbone_path), EAGER.device)
        self._generator = GhostGenerator(load_aei_net(generator_path), landmarker, EAGER, batch_size=1)

    def swap(
        self, frames: Iterable[Image], source: Identity, person: Embedding | None, similarity_th: float
    ) -> Iterator[Image]:
        """Swap frame by frame.

        Args:
            frames: (H, W, 3) BGR uint8.
            source: who is put in.
            person: who is replaced; None for the largest face of the first frame that has one.
            similarity_th: cosine similarity from which on a face is taken for the person.

        Returns:
            The finished frames, in order.
        """
        for index, frame in enumerate(frames):
            faces, _ = self._detector.detect(frame)
            if not faces:
                yield frame
                continue
            vectors = [self._embedder.embed(frame, face) for face in faces]
            if person is None:
                person = vectors[max(range(len(faces)), key=lambda number: faces[number].area)]
            similarities = cosine_similarities([person], vectors)
            chosen = match_faces(similarities, np.full_like(similarities, similarity_th))
            aligned = [self._generator.align(frame, faces[number], index) for number in chosen]
            yield get_final_image(frame, aligned, self._generator.generate(aligned, [source] * len(aligned)))
