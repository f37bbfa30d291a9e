"""Super resolution of generated faces (`--use_sr`): from pictures through LIP-SPADE and back.

Source: GHOST (doi 10.1109/ACCESS.2022.3196668), face_enhancement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from utils.inference.batching import BatchLimit
from utils.inference.faceshifter_run import pictures_on, tensor_to_images
from utils.inference.records import Image

FACES_AT_ONCE = 8


def face_enhancement(
    faces: Sequence[Image],
    sr_net: Callable[[Tensor], Tensor],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    limit: BatchLimit | None = None,
) -> list[Image]:
    """Sharpen generated faces. None depends on the others.

    Args:
        faces: N times (256, 256, 3) BGR uint8, as `faceshifter_batch` gives them.
        sr_net: LIP-SPADE, on `device`, its parameters of `dtype`.
        device, dtype: float32, float16 or bfloat16.
        limit: how many at once; memory that runs out lowers it.

    Returns:
        N times (256, 256, 3) BGR uint8.

    Raises:
        SwapError: if memory does not suffice for a single face.
    """

    def enhance(part: slice) -> list[Image]:
        with torch.inference_mode():
            return tensor_to_images(sr_net(_to_tensor(faces[part], device, dtype)))

    return (limit or BatchLimit(FACES_AT_ONCE)).run(enhance, len(faces))


def _to_tensor(faces: Sequence[Image], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(N, 3, 256, 256) RGB in [0, 1]."""
    bgr = pictures_on(device, faces)
    return (bgr.flip(3).permute(0, 3, 1, 2).to(torch.float32) / 255.0).to(dtype).contiguous()
