"""Model packs by name: which models belong together, and with which settings of their own.

Importing this loads no model and none of the libraries that run them.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.ghost_generator import CropLandmarker
    from utils.devices import Placement
    from utils.inference.model_pack import ModelPack

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackDefaults:
    """The settings that a pack brings: cosine similarity of one person, detection score, both in [0, 1]."""

    similarity_th: float
    det_thresh: float


# ghost: GHOST's inference.py and face_detect_crop_single; builtin: see "How the numbers were chosen" in weights/builtin/README.md
DEFAULTS = {"ghost": PackDefaults(0.15, 0.6), "builtin": PackDefaults(0.5, 0.4)}
MIN_FACE_PX = 16  # height of the box of a face; below, who it is cannot be told anyway (looked at from 10 to 48 px)


@dataclass(frozen=True)
class GhostOptions:
    """How the ghost pack is loaded.

    Attributes:
        generator_path: the user's own weights, or None for the released ones.
        backbone, num_blocks: what the weights must be; None for whatever they are (of the released ones, two blocks).
        crop_px: side of the aligned crop.
        det_size: (width, height) to which a picture is scaled for detection.
        use_sr: whether faces are enhanced.
        batch_size: the most faces at once.
        device, precision: see `utils.devices.choose_placement`.
    """

    generator_path: Path | None = None
    backbone: str | None = None
    num_blocks: int | None = None
    crop_px: int = 224
    det_size: tuple[int, int] = (640, 640)
    use_sr: bool = False
    batch_size: int = 40
    device: str = "auto"
    precision: str = "auto"


def load_ghost_pack(
    options: GhostOptions, det_thresh: float | None = None, placement: Placement | None = None
) -> ModelPack:
    """Load the released models: SCRFD, IResNet-100, AEI-Net, 2D106 if it is there, LIP-SPADE if wanted.

    Args:
        options: see there.
        det_thresh: detection score in [0, 1]; None for the pack's own.
        placement: where the networks run; None for what the options say.

    Raises:
        BadArgument: if the device is not there, or `backbone` or `num_blocks` contradict the weights.
        ModelFileError: naming every required file that is missing or damaged.
    """
    from models.ghost_networks import generator_network, identity_network, sr_network
    from utils.devices import choose_placement, with_tensorrt
    from utils.inference.model_pack import FadeLimits, ModelPack
    from utils.model_files.state import resolve_all
    from utils.model_files.table import required_files

    generator_name = _generator_name(options)
    paths = resolve_all([*required_files("ghost", generator_name), *(required_files("sr") if options.use_sr else ())])
    placement = placement or choose_placement(options.device, options.precision)

    from arcface_model.arcface_embedder import ArcFaceEmbedder
    from insightface_func.face_detect_crop import Face_detect_crop
    from models.ghost_generator import GhostGenerator
    from utils.inference.occlusion.appearance import KeypointSurface
    from utils.inference.steadying.smoothing import FaceKeypointSmoother

    defaults = DEFAULTS["ghost"]
    threshold = defaults.det_thresh if det_thresh is None else det_thresh
    generator_path = paths[generator_name] if generator_name else Path(str(options.generator_path))
    # First, since compiling it takes twice the memory that it keeps.
    network = generator_network(generator_path, options.backbone, options.num_blocks, placement)
    detector_path = paths["scrfd_10g_bnkps"]
    providers = with_tensorrt(placement.onnx_providers, detector_path)  # the detector's input is always of one size
    detector = Face_detect_crop(detector_path, threshold, options.det_size, providers)
    landmarker = _crop_landmarker(placement)
    return ModelPack(
        name="ghost",
        version=generator_path.stem,
        detector=detector,
        landmarker=None,
        embedder=ArcFaceEmbedder(identity_network(paths["backbone"], placement), placement.device),
        generator=GhostGenerator(
            network,
            landmarker,
            placement,
            options.batch_size,
            options.crop_px,
            sr_network(paths["10_net_G"], placement) if options.use_sr else None,
        ),
        similarity_th=defaults.similarity_th,
        settings=f"{options}, {placement}, {detector.providers}, detection score {threshold:g}, {type(landmarker).__name__}, "
        f"{_state(generator_path)}",
        make_smoother=FaceKeypointSmoother,
        fade_limits=FadeLimits(MIN_FACE_PX),
        surface=KeypointSurface(),
    )


def _state(path: Path) -> str:
    """Text that differs whenever the file's content does."""
    status = path.stat()
    return f"{path.name} of {status.st_size} bytes at {status.st_mtime_ns}"


def resolve_generator(options: GhostOptions) -> Path:
    """Path of the generator's weights: the user's own, or the released ones.

    Raises:
        ModelFileError: if the released ones are missing or damaged.
    """
    from utils.model_files.state import resolve

    name = _generator_name(options)
    return resolve(name) if name else Path(str(options.generator_path))


def _generator_name(options: GhostOptions) -> str | None:
    """Of the released generator, in the table of model files; None if the user brings one."""
    from utils.model_files.table import GENERATORS

    return None if options.generator_path else GENERATORS[options.num_blocks or 2]


def _crop_landmarker(placement: Placement) -> CropLandmarker:
    """2D106 if its file is there, else the embedded mesh, with a warning."""
    from coordinate_reg.attention_mesh import AttentionMesh
    from coordinate_reg.crop_landmarkers import Landmarks106, MeshLandmarks106
    from coordinate_reg.image_infer import Handler
    from utils.model_files.state import has_pack, resolve
    from utils.weights import builtin_file

    if has_pack("landmarks"):
        return Landmarks106(Handler(resolve("2d106det"), providers=placement.onnx_providers))
    logger.warning(
        "2d106det.onnx is not here, so masks come from the embedded mesh; get it with 'python inference.py --download landmarks'"
    )
    return MeshLandmarks106(AttentionMesh(builtin_file("face_mesh_attention.onnx")))


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
    from coordinate_reg.mesh_points import CHEEKS, RIGID
    from insightface_func.blaze_face import BlazeFaceDetector
    from models.mesh.generator import YAW_LIMITS_DEG, MeshGenerator
    from models.mesh.shape import measure_openings
    from models.mesh.surface import MeshSurface
    from utils.inference.model_pack import FadeLimits, ModelPack
    from utils.inference.steadying.landmark_smoothing import LandmarkSmoother
    from utils.memory import give_memory_back
    from utils.weights import builtin_file, builtin_version

    defaults = DEFAULTS["builtin"]
    threshold = defaults.det_thresh if det_thresh is None else det_thresh
    triangles = np.load(builtin_file("face_mesh_triangles.npy"))
    with ThreadPoolExecutor() as beside:  # models are read, and graphs optimised, without Python's lock
        embedder = beside.submit(
            DlibEmbedder, builtin_file("dlib_face_recognition.onnx"), builtin_file("dlib_face_mean.npy")
        )
        landmarker = beside.submit(AttentionMesh, builtin_file("face_mesh_attention.onnx"))
        detector = beside.submit(
            BlazeFaceDetector,
            builtin_file("face_detection_back.onnx"),
            builtin_file("face_detection_full_range.onnx"),
            threshold,
        )
        generator = MeshGenerator(triangles)
    give_memory_back()
    return ModelPack(
        name="builtin",
        version=builtin_version(),
        detector=detector.result(),
        landmarker=landmarker.result(),
        embedder=embedder.result(),
        generator=generator,
        similarity_th=defaults.similarity_th,
        settings=f"detection score {threshold:g}",
        make_smoother=partial(LandmarkSmoother, RIGID),
        fade_limits=FadeLimits(MIN_FACE_PX, YAW_LIMITS_DEG, CHEEKS),
        surface=MeshSurface(triangles, np.load(builtin_file("face_mesh_layout.npy"))),
        measure_openings=measure_openings,
    )
