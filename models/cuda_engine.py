"""Networks on CUDA: laid out as tensor cores want them, and recorded once for a size of batch, then replayed by a single call.

PyTorch launches the hundreds of kernels of a network one by one, holding Python's lock, which other stages need. Replayed CUDA graphs do
not. They are preferred to torch.compile, which would fuse the small steps, too, because they run the very kernels that PyTorch runs, and
need neither a compiler on the user's machine nor the time that compiling takes. Written without a device, so nothing here is measured.

cuDNN's choice of kernels by trial (`torch.backends.cudnn.benchmark`) stays off: the next process may choose others, and a resumed video
would differ from an uninterrupted one. For the same reason a batch has the same size, padding included, whether it is replayed or not.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

logger = logging.getLogger(__name__)

SIGNIFICANT_BITS = 3  # of a batch's size

Network = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Recording:
    """A network's work on one size of batch.

    Attributes:
        inputs: where the work reads; kept from run to run.
        output: where it writes.
        replay: does the work.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    replay: Callable[[], None]


Recorder = Callable[[Network, Sequence[Tensor]], Recording]


class ReplayedNetwork:
    """A network that is replayed where a size of batch comes again, and runs plainly where recording fails.

    What comes only once, as in a photo, is not worth a recording. Calls from several threads take turns.
    """

    def __init__(self, network: Network, record: Recorder) -> None:
        """Take over a network with one output, whose items do not depend on each other."""
        self._network = network
        self._record: Recorder | None = record
        self._seen: set[int] = set()
        self._recordings: dict[int, Recording] = {}
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the network.

        Args:
            inputs: (N, ...) each, of the device and precision of the network; N >= 1.

        Returns:
            (N, ...), which later calls leave as it is.

        Raises:
            ValueError: if the inputs differ in N.
            RuntimeError: whatever the network raises, if memory runs out above all.
        """
        (count,) = {len(tensor) for tensor in inputs}
        size = padded_size(count)
        padded = [_padded(tensor, size) for tensor in inputs]
        with self._lock:
            recording = self._recording(size, padded)
            if recording is None:
                return self._network(*padded)[:count]
            for kept, given in zip(recording.inputs, padded, strict=True):
                kept.copy_(given)
            recording.replay()
            return recording.output[:count].clone()

    def _recording(self, size: int, inputs: Sequence[Tensor]) -> Recording | None:
        """The recording for this size, made where it is seen the second time."""
        if self._record is not None and size in self._seen and size not in self._recordings:
            try:
                self._recordings[size] = self._record(self._network, inputs)
            except RuntimeError as error:
                # Memory, too: a recording keeps its own, and without it the batch may well fit. If not, the network itself will say so.
                logger.warning(f"CUDA cannot record a network ({error}), so it runs step by step, which is slower")
                self._record = None
                self._recordings.clear()  # gives back what they hold
        self._seen.add(size)
        return self._recordings.get(size)


class GraphRecorder:
    """Records a network's CUDA graphs. Only one of them may run at a time, since they share their memory."""

    def __init__(self, device: torch.device) -> None:
        """Record on this device."""
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, network: Network, inputs: Sequence[Tensor]) -> Recording:
        """Record the work on inputs of these sizes.

        Raises:
            RuntimeError: if a step cannot be recorded, or memory runs out.
        """
        with torch.cuda.device(self._device):
            kept = tuple(tensor.clone() for tensor in inputs)
            graph = torch.cuda.CUDAGraph()
            self._stream.wait_stream(torch.cuda.current_stream())
            # PyTorch's own context below does not leave the stream where the recording fails; this one does.
            with torch.cuda.stream(self._stream):
                network(*kept)  # what libraries set up at their first run must not be part of the recording
                # "thread_local": other threads may go on allocating, as onnxruntime does.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    output = network(*kept)
        return Recording(kept, output, graph.replay)


def replayed_on_cuda(network: nn.Module, device: torch.device, dtype: torch.dtype) -> ReplayedNetwork:
    """Bring a network to a CUDA device.

    Args:
        network: ready for inference; it is moved, not copied.
        device: a CUDA device.
        dtype: of its parameters and inputs; half precision is laid out channels last, as tensor cores want it.
    """
    network = network.to(device, dtype)
    if dtype != torch.float32:
        lay_channels_last(network)
    return ReplayedNetwork(network, GraphRecorder(device))


def lay_channels_last(network: nn.Module) -> None:
    """Make a network keep its parameters, and all maps between its layers, in the order (N, H, W, C)."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    network.register_forward_pre_hook(lambda _, inputs: tuple(map(_channels_last, inputs)))
    for module in network.modules():
        # It answers (N, C, H, W) whatever it gets, and every step up to the next convolution would work on two orders at once.
        if isinstance(module, nn.InstanceNorm2d):
            module.register_forward_hook(lambda _, inputs, maps: _channels_last(maps))


def padded_size(count: int) -> int:
    """The size to which a batch of `count` is padded: the next number with three significant bits.

    So there are few sizes to record, at most a quarter is added, and halves of a size, to which a lack of memory leads, are sizes again.

    >>> [padded_size(count) for count in (1, 5, 9, 20, 33, 40)]
    [1, 5, 10, 20, 40, 40]
    """
    step = 1 << max(0, count.bit_length() - SIGNIFICANT_BITS)
    return -(-count // step) * step


def _padded(tensor: Tensor, size: int) -> Tensor:
    """(N, ...) -> (size, ...) with zeros behind."""
    missing = size - len(tensor)
    return functional.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, missing)) if missing else tensor


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
