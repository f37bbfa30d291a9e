"""Crops through a network and back, in batches that shrink when memory runs out; with small networks in the place of the real ones."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.enhancement import face_enhancement
from utils.errors import SwapError
from utils.inference.batching import BatchLimit
from utils.inference.faceshifter_run import (
    faceshifter_batch,
    normalize_and_torch_batch,
    resize_frames,
    tensor_to_images,
    transform_target_to_torch,
)

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Tint(nn.Module):
    """In the place of AEI-Net: moves the picture towards white by the mean of the identity."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, target, identity):
        self.seen.append((tuple(target.shape), target.dtype, identity.dtype))
        strength = identity.mean(dim=1)[:, None, None, None]
        return target * (1 - strength) + strength, (target,)


class Greedy(nn.Module):
    """Runs out of memory above a number of faces."""

    def __init__(self, most, error=None):
        super().__init__()
        self.most = most
        self.error = error or torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        self.tried = []

    def forward(self, target, identity=None):
        self.tried.append(len(target))
        if len(target) > self.most:
            raise self.error
        return target if identity is None else (target + identity.mean(dim=1)[:, None, None, None], ())


class Exhausting(nn.Module):
    """Asks the device for a petabyte above two faces."""

    def forward(self, target, identity):
        if len(target) > 2:
            torch.empty(2**50, dtype=torch.uint8, device=target.device)
        return target, ()


def noise(count, side=224):
    random = np.random.default_rng(3)
    return [cv2.GaussianBlur(random.integers(0, 256, (side, side, 3), np.uint8), (0, 0), 2) for _ in range(count)]


def strengths(*values):
    return [np.full(512, value, np.float32) for value in values]


def test_targets_are_rgb_in_minus_one_to_one():
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[:, :, 0], crop[:, :, 1] = 255, 51  # blue, green
    tensor = transform_target_to_torch([crop, crop], CPU, torch.float32)
    assert tensor.shape == (2, 3, 256, 256)
    assert tensor.is_contiguous()
    np.testing.assert_allclose(tensor[1, :, 7, 9], [-1.0, -0.6, 1.0], atol=1e-6)


def test_targets_are_resized_linearly():
    (crop,) = noise(1)
    tensor = transform_target_to_torch([crop], CPU, torch.float32)[0]
    wanted = cv2.resize(crop, (256, 256), interpolation=cv2.INTER_LINEAR)[:, :, ::-1].transpose(2, 0, 1)
    np.testing.assert_allclose(tensor, wanted / 127.5 - 1, atol=1e-6)


def test_pictures_are_truncated_bgr():
    picture = torch.tensor([1.0, 0.999, -0.5]).reshape(1, 3, 1, 1)
    np.testing.assert_array_equal(tensor_to_images(picture), [[[[0, 254, 255]]]])
    assert tensor_to_images(torch.full((1, 3, 1, 1), 1.5))[0].max() == 255


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_goes_in_comes_out(dtype):
    crops = noise(3)
    network = Tint().to(dtype)
    faces = faceshifter_batch(crops, strengths(0, 0, 0), network, CPU, dtype, BatchLimit(2))
    assert network.seen == [((2, 3, 256, 256), dtype, dtype), ((1, 3, 256, 256), dtype, dtype)]
    tolerance = 1 if dtype != torch.bfloat16 else 2
    for face, crop in zip(faces, resize_frames(crops, 256), strict=True):
        assert (face.shape, face.dtype, face.flags.c_contiguous) == ((256, 256, 3), np.uint8, True)
        assert cv2.absdiff(face, crop).max() <= tolerance  # truncation, and rounding in half precision


def test_every_crop_gets_its_own_identity():
    black = [np.zeros((224, 224, 3), np.uint8)] * 4
    faces = faceshifter_batch(black, strengths(0, 1, 0.5, 0.25), Tint(), CPU, torch.float32, BatchLimit(3))
    assert [int(face[100, 100, 0]) for face in faces] == [0, 255, 127, 63]


def test_faces_go_back_to_the_side_of_the_crop():
    faces = resize_frames(noise(2, 256), 224)
    assert [face.shape for face in faces] == [(224, 224, 3)] * 2
    wanted = cv2.resize(noise(1, 256)[0], (224, 224), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(faces[0], wanted)


def test_nothing_in_nothing_out():
    network = Tint()
    assert faceshifter_batch([], [], network, CPU, torch.float32, BatchLimit(4)) == []
    assert face_enhancement([], nn.Identity(), CPU) == []
    assert resize_frames([], 256) == []
    assert network.seen == []


def test_the_numbers_of_crops_and_identities_must_agree():
    with pytest.raises(ValueError, match="2 crops, but 1"):
        faceshifter_batch(noise(2), strengths(0), Tint(), CPU, torch.float32, BatchLimit(4))


def test_gradients_are_off():
    class Asks(nn.Module):
        def forward(self, target, identity):
            assert torch.is_inference_mode_enabled()
            return target, ()

    faceshifter_batch(noise(1), strengths(0), Asks(), CPU, torch.float32, BatchLimit(1))


@pytest.mark.parametrize(
    "error",
    [
        None,
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["cuda", "cublas", "cudnn", "cpu", "numpy"],
)
def test_the_batch_is_halved_when_memory_runs_out(error, caplog):
    network, limit = Greedy(3, error), BatchLimit(8)
    black = [np.zeros((224, 224, 3), np.uint8)] * 10
    wanted = np.linspace(0, 0.9, 10)
    with caplog.at_level(logging.WARNING):
        faces = faceshifter_batch(black, strengths(*wanted * 2), network, CPU, torch.float32, limit)
    assert network.tried == [8, 4, 2, 2, 2, 2, 2]
    np.testing.assert_allclose([face[0, 0, 0] for face in faces], wanted * 255, atol=1)  # none lost, none twice
    assert [record.getMessage() for record in caplog.records] == [
        "not enough memory for 8 faces at once; going on with 4"
    ]


def test_the_smaller_batch_is_remembered(caplog):
    network, limit = Greedy(3), BatchLimit(4)
    for _ in range(2):
        faceshifter_batch(noise(4), strengths(0, 0, 0, 0), network, CPU, torch.float32, limit)
    assert network.tried == [4, 2, 2, 2, 2]
    assert limit.size == 2
    assert len(caplog.records) == 1


def test_a_short_batch_halves_from_its_own_length():
    network, limit = Greedy(2), BatchLimit(40)
    faceshifter_batch(noise(3), strengths(0, 0, 0), network, CPU, torch.float32, limit)
    assert network.tried == [3, 1, 1, 1]


def test_a_device_without_memory_for_one_face_is_said_so():
    with pytest.raises(SwapError, match="single face"):
        faceshifter_batch(noise(2), strengths(0, 0), Greedy(0), CPU, torch.float32, BatchLimit(2))


def test_other_errors_pass_through():
    network = Greedy(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        faceshifter_batch(noise(2), strengths(0, 0), network, CPU, torch.float32, BatchLimit(2))
    assert network.tried == [2]


def test_memory_that_really_runs_out(caplog):
    faces = faceshifter_batch(noise(5), strengths(*[0] * 5), Exhausting(), CPU, torch.float32, BatchLimit(5))
    assert len(faces) == 5
    assert len(caplog.records) == 1


@pytest.mark.gpu
@needs_gpu
def test_memory_of_the_gpu_that_really_runs_out(caplog):
    device = torch.device("cuda")
    crops = noise(5)
    faces = faceshifter_batch(crops, strengths(*[0] * 5), Exhausting(), device, torch.float16, BatchLimit(5))
    assert len(caplog.records) == 1
    for face, crop in zip(faces, resize_frames(crops, 256), strict=True):
        assert cv2.absdiff(face, crop).max() <= 1


@pytest.mark.parametrize("size", [0, -3])
def test_an_empty_batch_is_refused(size):
    with pytest.raises(ValueError):
        BatchLimit(size)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_enhancement_speaks_rgb_in_zero_to_one(dtype):
    class Probe(nn.Module):
        def forward(self, picture):
            assert picture.dtype == dtype
            assert picture.shape[1:] == (3, 256, 256)
            assert 0 <= picture.min() <= picture.max() <= 1
            return picture[:, [2, 1, 0]] * 2 - 0.25  # exchanges red and blue, and leaves [0, 1] on both sides

    face = np.zeros((256, 256, 3), np.uint8)
    face[:, :, 0], face[:, :, 1] = 255, 102  # blue, green
    enhanced = face_enhancement([face, face], Probe(), CPU, dtype)
    assert len(enhanced) == 2
    np.testing.assert_allclose(enhanced[1][5, 5].astype(int), [0, 140, 255], atol=1)
    assert enhanced[0].dtype == np.uint8


def test_enhancement_in_batches_that_shrink():
    network, limit = Greedy(3), BatchLimit(6)
    faces = noise(7, 256)
    enhanced = face_enhancement(faces, network, CPU, limit=limit)
    assert network.tried == [6, 3, 3, 1]
    for one, other in zip(enhanced, faces, strict=True):
        assert cv2.absdiff(one, other).max() <= 1


def test_normalisation_of_any_size():
    frames = noise(2, 64)
    tensor = normalize_and_torch_batch(frames, CPU, torch.float32)
    assert tensor.shape == (2, 3, 64, 64)
    np.testing.assert_allclose(tensor[0, 0], frames[0][:, :, 2] / 127.5 - 1, atol=1e-6)
