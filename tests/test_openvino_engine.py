"""OpenVINO's networks: PyTorch's numbers, conversions that are kept as long as they are right, and silence towards the internet."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from standin_weights import fill_with_standins
from torch import nn
from torch.nn import functional

from models.aad import AADBlock
from models.aei_encoders import UpsamplingBlock, double_size
from models.sr_net import LocalImportancePooling
from utils.devices import CpuEngine, choose_cpu_engine
from utils.errors import BadArgument

pytest.importorskip("openvino", reason="OpenVINO is not installed")
from models import openvino_files
from models.openvino_engine import compile_network, convert, save
from models.openvino_files import GRAPH, NOTE, VALUES, store

SHAPES = [(1, 3, 16, 16), (1, 32)]
FP32 = CpuEngine("fp32", 1)
INTEL = "vendor_id : GenuineIntel\nflags : avx512f avx512_bf16"
AMD = "vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16"
AMX = "vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16 amx_tile"


class Small(nn.Module):
    """What the real networks are made of, with few channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.up = UpsamplingBlock(8, 8)
        self.pool = LocalImportancePooling(8)
        self.prelu = nn.PReLU(8)
        self.block = AADBlock(8, 3, 16, 32, 2)

    def forward(self, target, identity):
        maps = self.prelu(self.norm(self.conv(target)))  # (N, 8, 16, 16)
        attribute = torch.cat((self.up(maps), double_size(maps)), dim=1)  # (N, 16, 32, 32)
        nearest = functional.interpolate(self.pool(maps), scale_factor=4, mode="nearest")  # (N, 8, 32, 32)
        return torch.tanh(self.block(nearest, attribute, identity))


@pytest.fixture(scope="module")
def network():
    network = Small()
    fill_with_standins(network)
    return network


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.pth"
    path.write_bytes(b"these weights")
    return path


def inputs(count=3):
    random = np.random.default_rng(0)
    return [torch.from_numpy(random.standard_normal((count, *shape[1:])).astype(np.float32)) for shape in SHAPES]


def never():
    raise AssertionError("the network is built again")


def compiled(weights, build, engine=FP32):
    return compile_network(weights, build, SHAPES, engine)


def test_the_engine_gives_pytorchs_numbers_for_every_face_of_a_batch(network, weights):
    found = compiled(weights, lambda: network)(*inputs())
    with torch.inference_mode():
        wanted = network(*inputs())
    assert found.dtype == torch.float32
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_conversion_is_used_again_and_gives_the_same(network, weights):
    first = compiled(weights, lambda: network)(*inputs())
    torch.testing.assert_close(compiled(weights, never)(*inputs()), first, rtol=0, atol=0)
    assert sorted(path.name for path in weights.parent.iterdir()) == ["small.pth", "small.pth.openvino"]


def test_other_weights_are_converted_again(network, weights):
    first = compiled(weights, lambda: network)(*inputs())
    weights.write_bytes(b"those weights")
    other = Small().eval()
    found = compiled(weights, lambda: other)(*inputs())
    with torch.inference_mode():
        torch.testing.assert_close(found, other(*inputs()), rtol=0, atol=1e-4)
    assert not torch.allclose(found, first, atol=1e-2)


@pytest.mark.parametrize("name", [GRAPH, VALUES, NOTE])
def test_a_damaged_conversion_is_made_again(network, weights, name):
    first = compiled(weights, lambda: network)(*inputs())
    damaged = weights.with_name("small.pth.openvino") / name
    damaged.write_bytes(damaged.read_bytes()[:-7])
    torch.testing.assert_close(compiled(weights, lambda: network)(*inputs()), first, rtol=0, atol=0)
    compiled(weights, never)


def test_another_version_converts_again(network, weights, monkeypatch):
    compiled(weights, lambda: network)
    monkeypatch.setattr(openvino_files, "FORMAT", openvino_files.FORMAT + 1)
    with pytest.raises(AssertionError, match="built again"):
        compiled(weights, never)


def test_a_conversion_that_is_interrupted_leaves_nothing_half_written(network, weights, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(openvino_files, "stamp_of", stop)  # after the large file, before the note
    with pytest.raises(KeyboardInterrupt):
        store(partial(save, convert(network, SHAPES)), weights.with_name("small.pth.openvino"), {})
    assert list(weights.parent.iterdir()) == [weights]


def test_a_folder_that_cannot_be_written_costs_one_warning(network, weights, caplog):
    weights.with_name(".small.pth.openvino.lock").mkdir()  # in the lock's place, which stops root, too
    unkept = compiled(weights, lambda: deepcopy(network))
    gc.collect()  # what it was converted from is gone, and its memory is used by others
    _ = [parameter.clone().fill_(7) for parameter in network.parameters() for _ in range(9)]
    with torch.inference_mode():
        torch.testing.assert_close(unkept(*inputs()), network(*inputs()), rtol=0, atol=1e-5)
    (record,) = caplog.records
    assert "small.pth is converted at every start" in record.getMessage()


def test_the_sidecar_spares_reading_the_weights(network, weights):
    from utils.model_files.sidecar import Sidecar, stamp_of, write_sidecar

    write_sidecar(weights, Sidecar("0" * 64, stamp_of(weights), "a test"))
    compiled(weights, lambda: network)
    note = json.loads((weights.with_name("small.pth.openvino") / NOTE).read_text())
    assert note["weights"] == "0" * 64


def test_bf16_stays_close(network, weights):
    try:
        engine = choose_cpu_engine("bf16", Path("/proc/cpuinfo").read_text())
    except (BadArgument, OSError):
        pytest.skip("this processor has no BF16")
    found = compiled(weights, lambda: network, engine)(*inputs())
    with torch.inference_mode():
        error = (found - network(*inputs())).square().mean()
    assert error > 0, "it is not FP32"
    assert 10 * torch.log10(4 / error) >= 35


@pytest.mark.parametrize(
    ("precision", "cpuinfo", "wanted"),
    [
        *(("auto", INTEL, "fp32"), ("auto", AMD, "bf16"), ("auto", AMX, "bf16"), ("auto", "", "fp32")),
        *(("fp32", AMX, "fp32"), ("bf16", INTEL, "bf16")),
    ],
)
def test_auto_is_bf16_only_where_that_is_faster(precision, cpuinfo, wanted):
    assert choose_cpu_engine(precision, cpuinfo).precision == wanted


def test_bf16_is_refused_where_the_processor_has_none():
    with pytest.raises(BadArgument, match="not known to calculate in BF16; use auto or fp32"):
        choose_cpu_engine("bf16", "flags : avx2")


LISTENER = """
import os, sys

def listen(event, arguments):
    if event.startswith("socket.") or event in ("os.fork", "subprocess.Popen", "os.posix_spawn"):
        print(event, arguments, flush=True)
        os._exit(70)

sys.addaudithook(listen)
"""
CONVERSION = """
from pathlib import Path
from torch import nn
from models.openvino_engine import compile_network
from utils.devices import CpuEngine

compile_network(Path("weights"), lambda: nn.Conv2d(3, 4, 3).eval(), [(1, 3, 8, 8)], CpuEngine("fp32", 1))
"""


def run_listening(program, folder):
    (folder / "weights").write_text("weights")
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": ""}
    command = [sys.executable, "-c", LISTENER + program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_nothing_is_reported_to_the_internet(tmp_path):
    finished = run_listening(CONVERSION, tmp_path)
    assert (finished.returncode, finished.stdout) == (0, ""), finished.stderr
    assert (tmp_path / "weights.openvino").is_dir()
    assert not (tmp_path / "intel").exists(), "nor is an identifier kept"
