"""The ghost pack's networks where they run: as replayed PyTorch on CUDA, through OpenVINO on a CPU if it is installed, else in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from arcface_model.iresnet import FACE_PX as IDENTITY_PX
from models.aei_net import FACE_PX, IDENTITY_SIZE, ImageOnly
from models.checkpoints import load_aei_net, load_iresnet100, load_sr_net
from models.cuda_engine import replayed_on_cuda
from utils.devices import CpuEngine, Placement

Network = Callable[[Tensor], Tensor]
Generator = Callable[[Tensor, Tensor], tuple[Tensor, object]]


def generator_network(path: Path, backbone: str | None, num_blocks: int | None, placement: Placement) -> Generator:
    """AEI-Net: answers the image, and on a CPU without OpenVINO what else PyTorch's network answers.

    Args:
        path: of its weights.
        backbone, num_blocks: what the user says that they are, if anything.
        placement: where it runs and in which precision.

    Raises:
        BadArgument, ModelFileError: see `load_aei_net`.
    """
    image: Callable[..., Tensor]
    if placement.device.type == "cuda":
        network = ImageOnly(load_aei_net(path, backbone, num_blocks))
        image = replayed_on_cuda(network, placement.device, placement.dtype)
    elif placement.engine is None:
        return load_aei_net(path, backbone, num_blocks).to(placement.dtype)
    else:
        if backbone is not None or num_blocks is not None:
            load_aei_net(path, backbone, num_blocks)  # which refuses what contradicts the file
        shapes = [(1, 3, FACE_PX, FACE_PX), (1, IDENTITY_SIZE)]
        image = _compiled(path, lambda: ImageOnly(load_aei_net(path)), shapes, placement.engine)
    return lambda target, identity: (image(target, identity), ())


def identity_network(path: Path, placement: Placement) -> Network:
    """IResNet-100; always in FP32, since it sees every face once and decides who is who.

    Raises:
        ModelFileError: see `load_iresnet100`.
    """
    engine = None if placement.engine is None else replace(placement.engine, precision="fp32")
    return _placed(path, load_iresnet100, IDENTITY_PX, replace(placement, dtype=torch.float32, engine=engine))


def sr_network(path: Path, placement: Placement) -> Network:
    """LIP-SPADE.

    Raises:
        ModelFileError: see `load_sr_net`.
    """
    return _placed(path, load_sr_net, FACE_PX, placement)


def _placed(path: Path, load: Callable[[Path], nn.Module], side_px: int, placement: Placement) -> Network:
    """A network of square pictures, (N, 3, side_px, side_px), where it runs."""
    if placement.device.type == "cuda":
        return replayed_on_cuda(load(path), placement.device, placement.dtype)
    if placement.engine is None:
        return load(path).to(placement.dtype)
    return _compiled(path, lambda: load(path), [(1, 3, side_px, side_px)], placement.engine)


def _compiled(
    path: Path, build: Callable[[], nn.Module], shapes: list[tuple[int, ...]], engine: CpuEngine
) -> Callable[..., Tensor]:
    from models.openvino_engine import compile_network

    return compile_network(path, build, shapes, engine)
