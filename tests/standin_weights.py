"""Stand-ins for released checkpoints: tensors that are a function of their name and shape, the same on every machine.

Golden numbers of the networks rest on them; so a change here changes every one of them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

THREADS = 2


def standin_tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """The stand-in for the parameter or buffer `key` of a state dict.

    Kernels keep the variance of what passes through them, scales lie around 1 (0.2 for the last norm of a residual
    branch, which keeps a hundred layers finite), shifts and means around 0, variances in [0.5, 1.5].
    """
    leaf = key.rpartition(".")[2]
    random = np.random.RandomState(zlib.crc32(key.encode()))  # the legacy generator: its stream is frozen
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if leaf == "running_var":
        return torch.from_numpy(np.asarray(random.random_sample(shape) + 0.5, dtype=np.float32))
    normal = np.asarray(random.standard_normal(shape), dtype=np.float32)
    if leaf in {"running_mean", "bias"}:
        normal *= np.float32(0.1)
    elif leaf in {"weight_u", "weight_v"}:
        normal /= np.linalg.norm(normal)
    elif len(shape) > 1:
        normal *= np.float32(math.sqrt(1.0 / math.prod(shape[1:])))
    else:
        normal = (0.2 if key.endswith("bn3.weight") else 1.0) * (1.0 + np.float32(0.1) * normal)
    return torch.from_numpy(np.asarray(normal, dtype=np.float32))


def standin_state(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """Stand-ins by name."""
    named = dict(shapes)
    with ThreadPoolExecutor(THREADS) as pool:  # NumPy draws without the interpreter's lock
        return dict(zip(named, pool.map(standin_tensor, named, named.values()), strict=True))


def shapes_of(network: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all that a checkpoint of `network` holds."""
    return [(key, tuple(value.shape)) for key, value in network.state_dict().items()]


def fill_with_standins(network: nn.Module) -> None:
    """Give `network` (which may lie on the meta device) its stand-ins, on the CPU, ready for inference."""
    network.load_state_dict(standin_state(shapes_of(network)), assign=True)
    network.eval().requires_grad_(False)


def write_standin_checkpoint(path: Path, network: nn.Module) -> None:
    """Save a checkpoint of stand-ins for `network`, which may lie on the meta device and stays as it is."""
    torch.save(standin_state(shapes_of(network)), path)
