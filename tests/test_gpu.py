"""The ghost pack on a CUDA device, with stand-in weights. Collected everywhere, skipped where torch finds no such device."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
from standin_pack import INPUT_PX, Project, write_detector, write_generator, write_sr

from insightface_func.face_detect_crop import Face_detect_crop
from models.checkpoints import load_aei_net, load_sr_net
from models.enhancement import face_enhancement
from utils.devices import choose_placement
from utils.inference.batching import BatchLimit
from utils.inference.faceshifter_run import faceshifter_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
LEAST_DB = 35
DEVICE = torch.device("cuda")


def psnr(image, wanted):
    return 10 * np.log10(255**2 / max(np.mean((image.astype(float) - wanted) ** 2), 1e-9))


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory):
    return write_generator(tmp_path_factory.mktemp("weights") / "G_unet_2blocks.pth")


@pytest.fixture
def crop(collins):
    return cv2.resize(collins[60:188, 160:288], (224, 224))


def embeddings(count):
    return list(np.random.default_rng(0).standard_normal((count, 512)).astype(np.float32))


def swap(path, crops, vectors, device, dtype, limit=None):
    network = load_aei_net(path).to(device, dtype)
    return faceshifter_batch(crops, vectors, network, device, dtype, limit or BatchLimit(40))


def test_auto_is_fp16_on_cuda():
    placement = choose_placement("auto", "auto")
    assert placement.device.type == "cuda"
    assert placement.dtype == torch.float16


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_fp16_stays_close_to_fp32(tmp_path, crop, num_blocks):
    path = write_generator(tmp_path / "generator.pth", "unet", num_blocks)
    wanted = swap(path, [crop], embeddings(1), torch.device("cpu"), torch.float32)[0]
    full = swap(path, [crop], embeddings(1), DEVICE, torch.float32)[0]
    half = swap(path, [crop], embeddings(1), DEVICE, torch.float16)[0]
    assert wanted.std() > 20
    assert psnr(full, wanted) >= LEAST_DB  # TF32 or not, the devices agree
    assert psnr(half, full) >= LEAST_DB


def test_super_resolution_in_fp16_stays_close_to_fp32(tmp_path, crop):
    path, face = write_sr(tmp_path / "sr.pth"), cv2.resize(crop, (256, 256))
    full, half = (
        face_enhancement([face], load_sr_net(path).to(DEVICE, dtype), DEVICE, dtype)[0]
        for dtype in (torch.float32, torch.float16)
    )
    assert psnr(half, full) >= LEAST_DB


def test_the_batch_is_halved_when_cuda_memory_runs_out(generator_file, crop, caplog):
    """Memory really runs out: the allocator may take little more than a few faces need."""
    count, dtype = 64, torch.float16
    network = load_aei_net(generator_file).to(DEVICE, dtype)
    vectors, generous, tight = embeddings(count), BatchLimit(4), BatchLimit(count)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    wanted = faceshifter_batch([crop] * count, vectors, network, DEVICE, dtype, generous)
    needed = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, needed * 1.3 / total))
    try:
        with caplog.at_level(logging.WARNING):
            found = faceshifter_batch([crop] * count, vectors, network, DEVICE, dtype, tight)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= tight.size < count
    assert len(caplog.records) == 1, "one warning, however often it is halved"
    assert "not enough memory for 64 faces at once" in caplog.text
    assert len(found) == count
    assert min(psnr(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)) >= LEAST_DB


def test_the_detector_runs_on_cuda_when_onnxruntime_can(tmp_path, collins):
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA; 'make gpu' installs the one that has")
    placement = choose_placement("cuda:0", "auto")
    path = write_detector(tmp_path / "scrfd.onnx")
    on_cuda = Face_detect_crop(path, 0.6, (INPUT_PX, INPUT_PX), placement.onnx_providers)
    on_cpu = Face_detect_crop(path, 0.6, (INPUT_PX, INPUT_PX), ("CPUExecutionProvider",))
    assert on_cuda.providers[0] == "CUDAExecutionProvider"
    (ours,), (theirs,) = on_cuda.detect(collins)[0], on_cpu.detect(collins)[0]
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-2)


def test_an_onnxruntime_without_cuda_is_told_once(caplog):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with caplog.at_level(logging.WARNING):
        placement = choose_placement("auto", "auto")
    assert placement.onnx_providers == ("CPUExecutionProvider",)
    assert caplog.text.count("make gpu") == 1


def test_an_image_end_to_end(tmp_path):
    project = Project(tmp_path / "project")
    pictures = {}
    for name, flags in {"auto": (), "fp32": ("--precision", "fp32"), "sr": ("--use_sr",)}.items():
        out = tmp_path / f"{name}.png"
        finished = project.run("--image_to_image", "True", "--out_image_name", out, "--device", "cuda", *flags)
        assert (finished.code, finished.stdout) == (0, f"{out}\n"), finished.stderr
        pictures[name] = cv2.imread(str(out))
    assert psnr(pictures["auto"], pictures["fp32"]) >= LEAST_DB
    assert (pictures["sr"] != pictures["auto"]).any()
