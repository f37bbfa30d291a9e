"""GHOST's face detector: SCRFD-10G with five keypoints, through insightface's model zoo.

Source: J. Guo et al., Sample and Computation Redistribution for Efficient Face Detection, arXiv 2105.04714.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import ModelFileError
from utils.inference.records import Face, Image

NMS_IOU = 0.4
LOWEST_SCORE = 0.1  # candidates under it are not even decoded; greedy suppression never lets them touch better ones
KEYPOINTS = 5


class Face_detect_crop:
    """Detector of the ghost pack."""

    def __init__(self, path: Path, det_thresh: float, det_size: tuple[int, int], providers: Sequence[object]) -> None:
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
            raise ModelFileError(f"'{path}' is not a usable ONNX model ({error}); download it again") from error
        if getattr(self._net, "taskname", None) != "detection" or not self._net.use_kps:
            raise ModelFileError(f"'{path}' is not SCRFD with five keypoints; download scrfd_10g_bnkps.onnx again")
        # A negative context would take the providers away again.
        self._net.prepare(0, nms_thresh=NMS_IOU, input_size=det_size)

    def detect(self, image: Image, thorough: bool = True) -> tuple[list[Face], float]:
        """See `Detector`; every search costs the same and is thorough."""
        rows, keypoints = self._net.detect(image, det_thresh=min(LOWEST_SCORE, self.det_thresh))
        usable = np.isfinite(rows).all(axis=1) & np.isfinite(keypoints).all(axis=(1, 2))
        faces = [
            Face(row[:4].astype(np.float64), float(row[4]), points.astype(np.float64))
            for row, points in zip(rows[usable], keypoints[usable], strict=True)
        ]
        return [face for face in faces if face.score >= self.det_thresh], max(
            (face.score for face in faces), default=0.0
        )
