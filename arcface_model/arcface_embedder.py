"""GHOST's identity: IResNet-100 on the crop that the generator sees, too.

Source: J. Deng et al., ArcFace, CVPR 2019; GHOST for the crop and its scaling.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from utils.inference.alignment import estimate_pose_alignment, warp_bilinear
from utils.inference.faceshifter_run import normalize_and_torch_batch
from utils.inference.records import Embedding, Face, Image

CROP_PX = 224  # as in GHOST, whatever the size of the generator's own crop
INPUT_PX = 112


class ArcFaceEmbedder:
    """Embedder of the ghost pack."""

    def __init__(self, network: Callable[[Tensor], Tensor], device: torch.device) -> None:
        """Take over IResNet-100, which runs on `device`; see `models.ghost_networks.identity_network`."""
        self._network = network
        self._device = device

    @torch.inference_mode()
    def embed(self, image: Image, face: Face) -> Embedding:
        """(512,) float32, raw, as the generator takes it. See `Embedder`."""
        frame_to_crop, _ = estimate_pose_alignment(face.keypoints, CROP_PX)
        crop = warp_bilinear(image, frame_to_crop, CROP_PX)
        tensor = normalize_and_torch_batch([crop], self._device, torch.float32)  # (1, 3, 224, 224)
        half = functional.interpolate(tensor, size=(INPUT_PX, INPUT_PX), mode="bilinear", align_corners=True)
        return self._network(half)[0].float().cpu().numpy().astype(np.float32)
