"""Model packs by name: which models belong together, and with which settings of their own.

Importing this loads no model and none of the libraries that run them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.inference.records import ModelPack


@dataclass(frozen=True)
class PackDefaults:
    """The settings that a pack brings: cosine similarity of one person, detection score, both in [0, 1]."""

    similarity_th: float
    det_thresh: float


# ghost: GHOST's inference.py and face_detect_crop_single; builtin: see "How the numbers were chosen" in weights/builtin/README.md
DEFAULTS = {"ghost": PackDefaults(0.15, 0.6), "builtin": PackDefaults(0.5, 0.4)}


def load_builtin_pack(det_thresh: float | None = None) -> ModelPack:
    """Load the pack that ships with the repository: BlazeFace, attention mesh, dlib's identity net, mesh generator; all on the CPU.

    Args:
        det_thresh: detection score in [0, 1]; None for the pack's own.

    Raises:
        ModelFileError: if a file is missing or damaged.
    """
    import numpy as np

    from arcface_model.dlib_embedder import DlibEmbedder
    from coordinate_reg.attention_mesh import AttentionMesh
    from insightface_func.blaze_face import BlazeFaceDetector
    from models.mesh.generator import MeshGenerator
    from utils.inference.records import ModelPack
    from utils.weights import builtin_file, builtin_version

    defaults = DEFAULTS["builtin"]
    detector = BlazeFaceDetector(
        builtin_file("face_detection_back.onnx"),
        builtin_file("face_detection_full_range.onnx"),
        defaults.det_thresh if det_thresh is None else det_thresh,
    )
    return ModelPack(
        name="builtin",
        version=builtin_version(),
        detector=detector,
        landmarker=AttentionMesh(builtin_file("face_mesh_attention.onnx")),
        embedder=DlibEmbedder(builtin_file("dlib_face_recognition.onnx"), builtin_file("dlib_face_mean.npy")),
        generator=MeshGenerator(np.load(builtin_file("face_mesh_triangles.npy"))),
        similarity_th=defaults.similarity_th,
    )
