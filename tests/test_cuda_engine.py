"""How networks are brought to CUDA, as far as it can be seen without: padding, order, what is recorded, what happens where that fails."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from models import cuda_engine
from models.aad import AADBlock
from models.cuda_engine import Recording, ReplayedNetwork, lay_channels_last, padded_size
from models.sr_net import LocalImportancePooling
from utils.devices import with_tensorrt
from utils.inference.batching import BatchLimit
from utils.inference.faceshifter_run import pictures_on

CUDA = ("CUDAExecutionProvider", {"device_id": 1})
CPU = "CPUExecutionProvider"


class Sum(nn.Module):
    """Adds an identity's mean to a picture; runs out of memory above a number of items."""

    def __init__(self, most=1000):
        super().__init__()
        self.most = most
        self.sizes = []

    def forward(self, picture, identity):
        self.sizes.append(len(picture))
        if len(picture) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return picture + identity.mean(dim=1)[:, None, None, None]


class Recorder:
    """As CUDA's graphs: fixed places for what goes in and out; what the network raises while it is recorded, or `error`, is raised."""

    def __init__(self, error=None):
        self.error = error
        self.sizes = []

    def __call__(self, network, inputs):
        self.sizes.append(len(inputs[0]))
        if self.error:
            raise self.error
        kept = tuple(tensor.clone() for tensor in inputs)
        output = network(*kept)
        return Recording(kept, output, lambda: output.copy_(network(*kept)))


def batch(count, seed=0):
    """Inputs, and what `Sum` must answer."""
    random = torch.Generator().manual_seed(seed)
    picture, identity = torch.randn(count, 3, 4, 4, generator=random), torch.randn(count, 5, generator=random)
    return (picture, identity), Sum()(picture, identity)


def test_padding_adds_at_most_a_quarter_and_halves_need_none():
    sizes = {padded_size(count) for count in range(1, 1025)}
    assert all(count <= padded_size(count) <= max(count, count * 5 / 4) for count in range(1, 1025))
    assert {size // 2 for size in sizes if size % 2 == 0} <= sizes
    assert len([size for size in sizes if size <= 40]) == 17


@pytest.mark.parametrize("count", [1, 3, 8, 9, 40])
def test_a_batch_of_any_size_comes_back_in_order_and_without_its_padding(count):
    network, record = Sum(), Recorder()
    replayed = ReplayedNetwork(network, record)
    for seed in range(4):
        inputs, wanted = batch(count, seed)
        torch.testing.assert_close(replayed(*inputs), wanted, rtol=0, atol=0)
    assert set(network.sizes) == {padded_size(count)}
    assert record.sizes == [padded_size(count)]


def test_only_sizes_that_come_again_are_recorded():
    record = Recorder()
    replayed = ReplayedNetwork(Sum(), record)
    for count in (40, 1, 40, 9, 10, 40, 37):
        inputs, wanted = batch(count)
        torch.testing.assert_close(replayed(*inputs), wanted)
    assert record.sizes == [40, 10]  # 9 and 37 go as 10 and 40


def test_later_batches_leave_earlier_answers_as_they_are():
    replayed = ReplayedNetwork(Sum(), Recorder())
    batches = [batch(8, seed) for seed in range(5)]
    answers = [replayed(*inputs) for inputs, _ in batches]
    for answer, (_, wanted) in zip(answers, batches, strict=True):
        torch.testing.assert_close(answer, wanted)


def test_a_short_batch_after_a_full_one_sees_nothing_of_it():
    class Total(nn.Module):
        def forward(self, picture):
            return picture.sum() + torch.zeros(len(picture), 1)

    replayed = ReplayedNetwork(Total(), Recorder())
    for count in (10, 10, 9, 10, 9):
        assert replayed(torch.ones(count, 1)).tolist() == [[count]] * count


def test_threads_take_turns():
    replayed = ReplayedNetwork(Sum(), Recorder())
    batches = [batch(4, seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda one: replayed(*one[0]), batches))
    for answer, (_, wanted) in zip(answers, batches, strict=True):
        torch.testing.assert_close(answer, wanted)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operation not permitted when stream is capturing"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
    ids=["capture", "memory"],
)
def test_what_cannot_be_recorded_runs_plainly_after_one_warning(error, caplog):
    network, record = Sum(), Recorder()
    replayed = ReplayedNetwork(network, record)
    with caplog.at_level(logging.WARNING):
        for count in (8, 8, 4, 4, 8, 4):
            if count == 4:
                record.error = error
            inputs, wanted = batch(count)
            torch.testing.assert_close(replayed(*inputs), wanted)
    assert record.sizes == [8, 4]
    assert network.sizes[-4:] == [4, 4, 8, 4], "as many at once as before"
    (message,) = [entry.getMessage() for entry in caplog.records]
    assert str(error) in message
    assert "slower" in message


def test_memory_that_runs_out_lowers_the_batch():
    network = Sum(most=10)
    replayed, limit = ReplayedNetwork(network, Recorder()), BatchLimit(40)
    (picture, identity), wanted = batch(45)
    for _ in range(2):
        answers = limit.run(lambda part: list(replayed(picture[part], identity[part])), 45)
        torch.testing.assert_close(torch.stack(answers), wanted)
    assert network.sizes[:5] == [40, 20, 10, 10, 10]
    assert limit.size == 10


def test_errors_of_the_network_pass_through():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        ReplayedNetwork(nn.Linear(2, 2), Recorder())(torch.ones(1, 3))


def test_inputs_must_be_as_many():
    with pytest.raises(ValueError):  # which padding would hide
        ReplayedNetwork(Sum(), Recorder())(torch.zeros(9, 3, 4, 4), torch.zeros(10, 5))


@pytest.mark.parametrize("inference", [False, True])
def test_answers_need_no_gradients(inference):
    replayed = ReplayedNetwork(nn.Linear(2, 2), Recorder())
    with torch.inference_mode(inference):
        for _ in range(3):
            assert not replayed(torch.ones(1, 2)).requires_grad


@pytest.mark.parametrize("build", [lambda: AADBlock(8, 4, 6, 5, 2), lambda: LocalImportancePooling(6)])
def test_every_convolution_gets_and_gives_maps_with_channels_last(build):
    torch.manual_seed(0)
    network = build().eval()
    maps, attribute, identity = torch.randn(2, 8, 6, 6), torch.randn(2, 6, 6, 6), torch.randn(2, 5)
    inputs = (maps, attribute, identity) if isinstance(network, AADBlock) else (attribute,)
    with torch.inference_mode():
        wanted = network(*inputs)
        assert wanted.is_contiguous()
        lay_channels_last(network)
        seen = []
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _, given, answer: seen.extend((*given, answer)))
        found = network(*inputs)
    assert seen
    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in (*seen, found))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "laid"), [(torch.float16, True), (torch.bfloat16, True), (torch.float32, False)])
def test_half_precision_is_laid_channels_last(monkeypatch, dtype, laid):
    monkeypatch.setattr(cuda_engine, "GraphRecorder", lambda device: Recorder())
    network = nn.Conv2d(4, 4, 3)
    answer = cuda_engine.replayed_on_cuda(network, torch.device("cpu"), dtype)(torch.zeros(1, 4, 5, 5, dtype=dtype))
    assert answer.dtype == dtype
    assert network.weight.is_contiguous(memory_format=torch.channels_last) == laid


@pytest.fixture
def tensorrt(monkeypatch):
    """A machine where onnxruntime and the package tensorrt are ready for it."""
    module = ModuleType("tensorrt")
    module.__spec__ = object()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    names = ["TensorrtExecutionProvider", CUDA[0], CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    return names


def test_tensorrt_comes_first_where_it_is_and_keeps_its_engines_beside_the_model(tensorrt, tmp_path):
    (name, options), *others = with_tensorrt((CUDA, CPU), tmp_path / "scrfd.onnx")
    assert name == "TensorrtExecutionProvider"
    assert options["device_id"] == 1
    assert options["trt_engine_cache_path"] == str(tmp_path / "scrfd.onnx.tensorrt")
    assert (tmp_path / "scrfd.onnx.tensorrt").is_dir()
    assert others == [CUDA, CPU]


def test_no_tensorrt_without_its_provider_its_package_or_cuda(tensorrt, tmp_path, monkeypatch):
    model = tmp_path / "scrfd.onnx"
    assert with_tensorrt((CPU,), model) == (CPU,)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "tensorrt", None)
        without.setattr("importlib.util.find_spec", lambda name: None)
        assert with_tensorrt((CUDA, CPU), model) == (CUDA, CPU)
    tensorrt.remove("TensorrtExecutionProvider")
    assert with_tensorrt((CUDA, CPU), model) == (CUDA, CPU)
    assert list(tmp_path.iterdir()) == []


def test_tensorrt_that_cannot_keep_engines_or_does_not_load_is_not_used(tensorrt, tmp_path, monkeypatch, caplog):
    (tmp_path / "scrfd.onnx.tensorrt").write_text("in the way")
    assert with_tensorrt((CUDA, CPU), tmp_path / "scrfd.onnx") == (CUDA, CPU)
    assert "cannot be written" in caplog.text

    def broken(name):
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", broken)
    assert with_tensorrt((CUDA, CPU), tmp_path / "other.onnx") == (CUDA, CPU)
    assert "libnvinfer" in caplog.text


def test_pictures_travel_as_they_are():
    frames = [np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)[:, ::-1] for seed in range(3)]
    there = pictures_on(torch.device("cpu"), frames)
    assert there.dtype == torch.uint8
    np.testing.assert_array_equal(there, frames)
