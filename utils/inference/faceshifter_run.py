"""AEI-Net's run: from aligned crops to tensors, through the network in batches, and back to pictures.

The only place where crops become its tensors. Devices and precision are arguments; torch is imported late. Source: GHOST (doi
10.1109/ACCESS.2022.3196668), faceshifter_run and the loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from utils.inference.batching import BatchLimit
from utils.inference.records import Embedding, Image

if TYPE_CHECKING:
    import torch

NETWORK_PX = 256  # side of AEI-Net's pictures


def resize_frames(frames: Sequence[Image], side_px: int) -> list[Image]:
    """Resize square pictures, linearly.

    Args:
        frames: N times (S, S, 3) BGR uint8.
        side_px: of the results; 256 goes into AEI-Net, 224 is the aligned crop.

    Returns:
        N times (side_px, side_px, 3) BGR uint8.
    """
    size = (side_px, side_px)
    return [cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames]


def pictures_on(device: torch.device, frames: Sequence[Image]) -> torch.Tensor:
    """Pictures on a device as they are. CUDA fetches them by itself, from pinned memory, while this thread goes on.

    Args:
        device: of the result.
        frames: N >= 1 times (H, W, 3) BGR uint8, all of one size.

    Returns:
        (N, H, W, 3) BGR uint8.
    """
    import torch

    pinned = device.type == "cuda"
    stacked = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=pinned)
    np.stack(frames, out=stacked.numpy())
    return stacked.to(device, non_blocking=pinned)  # PyTorch keeps the memory until it is fetched


def normalize_and_torch_batch(frames: Sequence[Image], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Pictures as a tensor.

    Args:
        frames: N >= 1 times (H, W, 3) BGR uint8, all of one size.
        device, dtype: of the result; the arithmetic is float32.

    Returns:
        (N, 3, H, W) RGB in [-1, 1].
    """
    import torch

    bgr = pictures_on(device, frames)
    rgb = bgr.flip(3).permute(0, 3, 1, 2).to(torch.float32)
    return ((rgb / 255.0 - 0.5) / 0.5).to(dtype).contiguous()


def transform_target_to_torch(crops: Sequence[Image], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Aligned crops as AEI-Net's target.

    Args:
        crops: N >= 1 times (S, S, 3) BGR uint8; GHOST's S is 224.
        device, dtype: of the result.

    Returns:
        (N, 3, 256, 256) RGB in [-1, 1].
    """
    return normalize_and_torch_batch(resize_frames(crops, NETWORK_PX), device, dtype)


def tensor_to_images(pictures: torch.Tensor) -> list[Image]:
    """Pictures out of a network.

    Args:
        pictures: (N, 3, H, W) RGB in [0, 1], on any device, in any precision; what lies beyond is clamped.

    Returns:
        N times (H, W, 3) BGR uint8, truncated.
    """
    import torch

    levels = (pictures.to(torch.float32) * 255.0).clamp_(0.0, 255.0).to(torch.uint8)
    bgr = levels.flip(1).permute(0, 2, 3, 1).contiguous()
    if not bgr.is_cuda:
        return list(bgr.numpy())
    fetched = bgr.to("cpu", non_blocking=True)  # into pinned memory
    torch.cuda.current_stream(bgr.device).synchronize()
    return list(fetched.numpy())


def faceshifter_batch(
    crops: Sequence[Image],
    embeddings: Sequence[Embedding],
    network: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, object]],
    device: torch.device,
    dtype: torch.dtype,
    limit: BatchLimit,
) -> list[Image]:
    """Swap the faces of aligned crops.

    Args:
        crops: N times (S, S, 3) BGR uint8; GHOST's S is 224.
        embeddings: N times (512,), the raw vector of the identity that each crop gets.
        network: AEI-Net, on `device`, its parameters of `dtype` (or OpenVINO's, which takes and gives float32).
        device, dtype: float32, float16 or bfloat16.
        limit: how many at once; memory that runs out lowers it.

    Returns:
        N times (256, 256, 3) BGR uint8, for `face_enhancement` if wanted; then for `resize_frames`, back to the crop's side.

    Raises:
        SwapError: if memory does not suffice for a single face.
        ValueError: if there are not as many embeddings as crops.
    """
    import torch

    if len(crops) != len(embeddings):
        raise ValueError(f"{len(crops)} crops, but {len(embeddings)} embeddings")

    def swap(part: slice) -> list[Image]:
        target = transform_target_to_torch(crops[part], device, dtype)
        identity = torch.from_numpy(np.stack(embeddings[part])).to(device, dtype)
        with torch.inference_mode():
            image, _ = network(target, identity)  # (n, 3, 256, 256) in [-1, 1]
            return tensor_to_images(image.to(torch.float32) * 0.5 + 0.5)

    return limit.run(swap, len(crops))
