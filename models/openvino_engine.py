"""Networks on a CPU through OpenVINO, which gives PyTorch's numbers in about half of its time.

A network is converted once, and kept beside its weights by openvino_files, so that later runs neither read the checkpoint nor build the
network in PyTorch.

Batches are taken apart: AEI-Net takes 0.52 s of one core for a face, alone as in a batch of four or eight, but a batch of eight takes
0.7 GB more, and is wasted where it is not full. Nor do rearrangements of AEI-Net pay in OpenVINO: its 1x1 convolutions of one input merged
cost in splitting what they save, equal normalisations are shared as it is, and identity terms calculated once a source are 1 % of the work.
"""

from __future__ import annotations

import logging
import mmap
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from models.openvino_files import GRAPH, VALUES, describe, folder_of, is_whole, store
from utils.errors import UnwritableOutput
from utils.files import shown
from utils.locks import exclusive
from utils.memory import give_memory_back

if TYPE_CHECKING:
    from utils.devices import CpuEngine

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]
Model = Any  # openvino.Model; OpenVINO has no types


def import_openvino() -> Any:
    """The package, with its reports to the internet switched off.

    `import openvino` reports itself through the package openvino_telemetry; where that is missing, its own stub does nothing instead.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class CompiledNetwork:
    """A network that takes and gives float32 tensors like the PyTorch one that it was made of. Calls from several threads take turns."""

    def __init__(self, model: Model, engine: CpuEngine, memory: object = None) -> None:
        """Compile an OpenVINO model whose inputs have a first dimension of 1; `memory` is what holds its parameters, if it does not."""
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[engine.precision],
            "INFERENCE_NUM_THREADS": engine.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other stages need the cores, too
        }
        self._request = import_openvino().Core().compile_model(model, "CPU", settings).create_infer_request()
        self._memory = memory
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the network.

        Args:
            inputs: (N, ...) float32 on the CPU, of the sizes that it was made for, but any N.

        Returns:
            (N, ...) float32, the network's only output.
        """
        rows = zip(*(tensor.contiguous().numpy() for tensor in inputs), strict=True)
        with self._lock:
            answers = [self._request.infer([one[None] for one in row], share_inputs=True)[0].copy() for row in rows]
        return torch.from_numpy(np.concatenate(answers))


def compile_network(
    weights: Path, build: Callable[[], nn.Module], shapes: Sequence[Shape], engine: CpuEngine
) -> CompiledNetwork:
    """A network, compiled for this processor.

    Args:
        weights: the checkpoint; the conversion is kept beside it, for as long as its content is the same.
        build: gives the network with these weights, on the CPU, in float32, ready for inference; called only to convert it.
        shapes: of its inputs, with a batch of 1.
        engine: precision and threads.

    Raises:
        ModelFileError: if the weights cannot be read, and whatever `build` raises.
    """
    wanted = describe(weights, openvino=import_openvino().get_version(), shapes=[list(shape) for shape in shapes])
    folder = folder_of(weights)
    if not is_whole(folder, wanted):
        try:
            with exclusive(folder):
                if not is_whole(folder, wanted):  # or another process has been quicker
                    logger.info(f"{shown(weights)} is converted, once")
                    store(partial(save, convert(build(), shapes)), folder, wanted)
                    give_memory_back()  # about 1 GB for AEI-Net, which compiling needs next
        except (UnwritableOutput, OSError) as error:
            logger.warning(
                f"{shown(folder)} cannot be written ({error}), so {weights.name} is converted at every start"
            )
            return CompiledNetwork(convert(build(), shapes), engine)
    return _load(folder, engine)


def convert(network: nn.Module, shapes: Sequence[Shape]) -> Model:
    """OpenVINO's model of a network with one output; it shares the memory of the network's parameters.

    Args:
        network: on the CPU, in float32, ready for inference.
        shapes: of the inputs; the model takes no others.
    """
    openvino = import_openvino()
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants, which is wanted
        traced = torch.jit.trace(network, tuple(map(torch.zeros, shapes)), check_trace=False)
    decoder = TorchScriptPythonDecoder(traced, skip_freeze=True)  # freezing would copy every parameter
    frontend = FrontEndManager().load_by_framework("pytorch")
    graph = frontend.load(decoder)
    model = frontend.convert(graph)
    model.reshape(
        {place.any_name: openvino.PartialShape(shape) for place, shape in zip(model.inputs, shapes, strict=True)}
    )
    # Batch normalisations go into convolutions now, rather than at every start, where they would take as much memory as the weights.
    apply_moc_transformations(model, cf=True)
    return model


def save(model: Model, path: Path) -> None:
    """Write a model, in full precision."""
    import_openvino().save_model(model, path, compress_to_fp16=False)


def _load(folder: Path, engine: CpuEngine) -> CompiledNetwork:
    """Compile a conversion straight from its file, of which next to nothing stays in memory."""
    openvino = import_openvino()
    with (folder / VALUES).open("rb") as stream:
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    values = np.frombuffer(mapping, np.uint8)
    tensor = openvino.Tensor(values, openvino.Shape([len(values)]), openvino.Type.u8)
    network = CompiledNetwork(openvino.Core().read_model((folder / GRAPH).read_bytes(), tensor), engine, values)
    if hasattr(mmap, "MADV_DONTNEED"):  # most of what was compiled is a copy in another order; the rest is read again
        mapping.madvise(mmap.MADV_DONTNEED)
    return network
