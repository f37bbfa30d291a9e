"""Write AEI-Net as ONNX, so that other tools can use it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from models.aei_net import FACE_PX, IDENTITY_SIZE, ImageOnly
from models.checkpoints import load_aei_net
from models.packs import GhostOptions, resolve_generator
from utils.files import finished_file

OPSET = 17


def export_generator(options: GhostOptions, out: Path) -> None:
    """Export the generator in FP32.

    The graph's inputs are `target` (N, 3, 256, 256) RGB in [-1, 1] and `identity` (N, 512); its output is `image`, like `target`.

    Args:
        options: which generator.
        out: the file to write.

    Raises:
        ModelFileError: if the weights are missing or damaged.
        BadArgument: if `backbone` or `num_blocks` contradict them.
        UnwritableOutput: if `out` cannot be written.
    """
    network = load_aei_net(resolve_generator(options), options.backbone, options.num_blocks)
    example = (torch.zeros(2, 3, FACE_PX, FACE_PX), torch.zeros(2, IDENTITY_SIZE))
    with finished_file(out) as temporary, torch.inference_mode(), warnings.catch_warnings():
        # An instance norm has no running statistics; that it takes the image's own is what it is for.
        warnings.filterwarnings("ignore", message="ONNX export mode is set to TrainingMode.EVAL")
        torch.onnx.export(
            ImageOnly(network),
            example,
            temporary,
            input_names=["target", "identity"],
            output_names=["image"],
            dynamic_axes={name: {0: "N"} for name in ("target", "identity", "image")},
            opset_version=OPSET,
            dynamo=False,
        )
