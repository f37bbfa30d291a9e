"""The ghost pack on a CUDA device, with stand-in weights. Collected everywhere, skipped where torch finds no such device."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
from standin_pack import INPUT_PX, Project, write_backbone, write_detector, write_generator, write_landmarker, write_sr
from torch import nn

from coordinate_reg.image_infer import Handler
from insightface_func.face_detect_crop import Face_detect_crop
from models.checkpoints import load_aei_net, load_iresnet100, load_sr_net
from models.cuda_engine import GraphRecorder, ReplayedNetwork, lay_channels_last
from models.enhancement import face_enhancement
from models.ghost_networks import generator_network, identity_network, sr_network
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


@pytest.fixture(scope="module")
def half_generator(generator_file):
    """AEI-Net as the pack runs it: FP16, channels last, replayed."""
    return generator_network(generator_file, None, None, choose_placement("cuda", "fp16"))


def differing_crops(crop, count):
    """Crops that are told apart by their brightness."""
    return [cv2.convertScaleAbs(crop, alpha=0.3 + 0.7 * index / count) for index in range(count)]


def swap_on_cuda(network, crops, vectors, limit=None):
    return faceshifter_batch(crops, vectors, network, DEVICE, torch.float16, limit or BatchLimit(40))


@pytest.mark.parametrize("count", [1, 7, 10])
def test_replayed_networks_answer_as_plain_ones_whatever_the_batch(generator_file, half_generator, crop, count):
    """Also the last, partial batch, and batches in a row that must not see each other's data."""
    crops, vectors = differing_crops(crop, 3 * count - 1), embeddings(3 * count - 1)
    wanted = swap(generator_file, crops, vectors, DEVICE, torch.float16, BatchLimit(count))
    for _ in range(3):  # plain, recorded, replayed
        found = swap_on_cuda(half_generator, crops, vectors, BatchLimit(count))
        assert min(psnr(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)) >= LEAST_DB
    others = swap_on_cuda(half_generator, crops[::-1], vectors[::-1], BatchLimit(count))
    assert min(psnr(ours, theirs) for ours, theirs in zip(others, wanted[::-1], strict=True)) >= LEAST_DB
    assert psnr(wanted[0], wanted[-1]) < LEAST_DB, "the faces differ enough for a mix-up to show"


def test_a_replay_gives_the_very_numbers_of_the_plain_run(half_generator, crop):
    """Else a resumed video, whose batches begin plainly, would differ from an uninterrupted one."""
    crops, vectors = differing_crops(crop, 6), embeddings(6)
    plain, recorded, replayed = (swap_on_cuda(half_generator, crops, vectors) for _ in range(3))
    np.testing.assert_array_equal(recorded, plain)
    np.testing.assert_array_equal(replayed, plain)


def test_a_short_batch_after_a_full_one_is_as_if_it_were_alone(half_generator, crop):
    crops, vectors = differing_crops(crop, 10), embeddings(10)
    alone = [swap_on_cuda(half_generator, crops[:9], vectors[:9]) for _ in range(2)][-1]  # goes as ten, too
    swap_on_cuda(half_generator, crops[::-1], vectors[::-1])
    np.testing.assert_array_equal(swap_on_cuda(half_generator, crops[:9], vectors[:9]), alone)


def test_the_identity_net_and_super_resolution_answer_the_same_when_replayed(tmp_path):
    placement = choose_placement("cuda", "fp16")
    torch.manual_seed(0)
    face = torch.rand(1, 3, 112, 112, device=DEVICE) * 2 - 1
    backbone = write_backbone(tmp_path / "backbone.pth")
    replayed, plain = identity_network(backbone, placement), load_iresnet100(backbone).to(DEVICE)
    picture = torch.rand(3, 3, 256, 256, device=DEVICE, dtype=torch.float16)
    sr = write_sr(tmp_path / "sr.pth")
    sharper, plainly = sr_network(sr, placement), load_sr_net(sr).to(DEVICE, torch.float16)
    with torch.inference_mode():
        vector, sharp = plain(face), plainly(picture).float().clamp(0, 1) * 255
        for _ in range(3):
            assert torch.cosine_similarity(replayed(face), vector).item() > 0.9999
            again = sharper(picture).float().clamp(0, 1) * 255
            assert psnr(again.cpu().numpy(), sharp.cpu().numpy()) >= LEAST_DB


class Asks(nn.Module):
    """Waits for the device in the middle of its work, which cannot be recorded."""

    def forward(self, maps):
        return maps * 2 if maps.sum().item() > 0 else maps


def test_what_cuda_cannot_record_runs_plainly_and_leaves_the_stream(caplog):
    stream = torch.cuda.current_stream(DEVICE)
    replayed = ReplayedNetwork(Asks(), GraphRecorder(DEVICE))
    maps = torch.ones(3, 4, 8, 8, device=DEVICE)
    for _ in range(4):
        torch.testing.assert_close(replayed(maps), maps * 2)
        assert torch.cuda.current_stream(DEVICE) == stream
    assert len(caplog.records) == 1
    after = ReplayedNetwork(nn.Conv2d(4, 4, 3).to(DEVICE), GraphRecorder(DEVICE))
    first, _, third = (after(maps) for _ in range(3))
    torch.testing.assert_close(third, first)
    assert len(caplog.records) == 1, "the device records other networks all the same"


def test_graphs_of_several_sizes_share_their_memory_without_harm(generator_file):
    network = load_aei_net(generator_file).generator.AADBlk5.to(DEVICE, torch.float16)
    lay_channels_last(network)
    replayed = ReplayedNetwork(network, GraphRecorder(DEVICE))
    c_in, attributes = network.add_blocks[2].in_channels, network.add_blocks[0].conv1.in_channels
    torch.manual_seed(0)
    with torch.inference_mode():
        batches = [
            [torch.randn(count, *rest, device=DEVICE, dtype=torch.float16) for rest in shapes]
            for count in (4, 16, 2, 8)
            for shapes in [[(c_in, 32, 32), (attributes, 32, 32), (512,)]]
        ]
        wanted = [network(*inputs) for inputs in batches]
        for _ in range(4):
            for inputs, answer in zip(batches, wanted, strict=True):
                torch.testing.assert_close(replayed(*inputs), answer, rtol=1e-2, atol=1e-2)


def test_the_landmarker_runs_on_cuda_when_onnxruntime_can(tmp_path, crop):
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA; 'make gpu' installs the one that has")
    path = write_landmarker(tmp_path / "2d106det.onnx")
    on_cuda, on_cpu = Handler(path, providers=choose_placement("cuda", "auto").onnx_providers), Handler(path)
    crops = differing_crops(crop, 5)
    ours, theirs = (net.get_without_detection_without_transform_batch(crops) for net in (on_cuda, on_cpu))
    np.testing.assert_allclose(ours, theirs, atol=0.5)


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
