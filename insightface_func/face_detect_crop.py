"""GHOST's face detector: SCRFD-10G with five keypoints, through insightface's model zoo.

Source: J. Guo et al., Sample and Computation Redistribution for Efficient Face Detection, arXiv 2105.04714.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.devices import Provider
from utils.errors import ModelFileError
from utils.inference.alignment import estimate_pose_alignment
from utils.inference.records import Face, Image, Points

logger = logging.getLogger(__name__)

NMS_IOU = 0.4
LOWEST_SCORE = 0.1  # candidates under it are not even decoded; greedy suppression never lets them touch better ones
KEYPOINTS = 5


class Face_detect_crop:
    """Detector of the ghost pack."""

    def __init__(self, path: Path, det_thresh: float, det_size: tuple[int, int], providers: Sequence[Provider]) -> None:
        """Load `scrfd_10g_bnkps.onnx`.

        Args:
            path: the file, already verified.
            det_thresh: score in [0, 1] from which on a candidate is a face.
            det_size: (width, height) of the net's input; a picture is scaled to fit.
            providers: of onnxruntime, best first.

        Raises:
            ModelFileError: if the file is no SCRFD with keypoints.
        """
        from insightface.model_zoo import get_model

        self.det_thresh = det_thresh
        try:
            self._net = get_model(str(path), providers=list(providers))
        except Exception as error:  # onnxruntime's and insightface's own exception classes share no public base
            raise ModelFileError(f"{str(path)!r} is not a usable ONNX model ({error}); download it again") from error
        if getattr(self._net, "taskname", None) != "detection" or not self._net.use_kps:
            raise ModelFileError(f"{str(path)!r} is not SCRFD with five keypoints; download scrfd_10g_bnkps.onnx again")
        wanted = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        self.providers: list[str] = self._net.session.get_providers()
        if wanted[0] not in self.providers:  # onnxruntime itself goes on without it
            logger.warning(
                f"onnxruntime could not start {wanted[0]}, so detection runs with {self.providers[0]}; see --doctor"
            )
        # A negative context would take the providers away again.
        self._net.prepare(0, nms_thresh=NMS_IOU, input_size=det_size)

    def detect(self, image: Image, thorough: bool = True) -> tuple[list[Face], float]:
        """See `Detector`; every search costs the same and is thorough."""
        if self._vanishes(image):
            return [], 0.0
        rows, keypoints = self._net.detect(image, det_thresh=min(LOWEST_SCORE, self.det_thresh))
        usable = np.isfinite(rows).all(axis=1) & np.isfinite(keypoints).all(axis=(1, 2))
        faces = [
            Face(row[:4].astype(np.float64), float(row[4]), points.astype(np.float64))
            for row, points in zip(rows[usable], keypoints[usable], strict=True)
        ]
        best_score = max((face.score for face in faces), default=0.0)
        return [face for face in faces if face.score >= self.det_thresh and _can_be_aligned(face.keypoints)], best_score

    def _vanishes(self, image: Image) -> bool:
        """Whether the picture is so long and thin that nothing is left of it when it is scaled to fit."""
        height, width = image.shape[:2]
        scale = min(self._net.input_size[0] / width, self._net.input_size[1] / height)
        return min(width, height) * scale < 1.5


def _can_be_aligned(keypoints: Points) -> bool:
    """Whether keypoints look at all like a face's; what looks like none must not end a whole video."""
    try:
        estimate_pose_alignment(keypoints, 1)
    except ValueError:
        return False
    return True
