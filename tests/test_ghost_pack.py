"""The ghost pack on the real command line, in a copy of the project whose pack is of stand-ins; see standin_pack.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from conftest import COLLINS, ROOT
from media_makers import frame_times, payloads, run_ffmpeg
from standin_pack import COLLINS as PLACE
from standin_pack import INPUT_PX, Finished, Project, overlapping_state, write_generator
from torch import nn

from models.aei_net import AEI_Net
from utils.evaluate.unsigned import unsigned
from utils.inference.alignment import estimate_pose_alignment, invert, transform_points

DONE, FAILED, BAD_ARGUMENT, MODEL_FILES = 0, 1, 2, 5
IMAGE = ("--image_to_image", "True")
GHOST = (*IMAGE, "--pack", "ghost")
FRAMES, BLACK_FRAME = 4, 2
SEVERAL = """
    import contextlib, io, json, sys
    import inference
    for arguments in json.loads(sys.argv[1]):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = inference.main(arguments)
        print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("ghost"))


@pytest.fixture(scope="module")
def swapped(project: Project) -> tuple[Finished, Path]:
    out = project.folder / "auto.png"
    return project.run(*IMAGE, "--out_image_name", out), out


def face_region(size_px: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what the aligned crop covers in a square picture."""
    keypoints = np.array(PLACE.keypoints) * size_px / INPUT_PX
    frame_to_crop, _ = estimate_pose_alignment(keypoints, 224)
    corners = transform_points(invert(frame_to_crop), np.array([(0.0, 0), (224, 0), (224, 224), (0, 224)]))
    return tuple(map(int, (*np.floor(corners.min(0)), *np.ceil(corners.max(0)))))


def assert_only_the_face_changed(path: Path) -> None:
    changed = (cv2.imread(str(path)) != cv2.imread(str(COLLINS))).any(axis=2)
    left, top, right, bottom = face_region(len(changed))
    assert changed[top:bottom, left:right].mean() > 0.3
    changed[top:bottom, left:right] = False
    assert not changed.any()


def warnings_of(finished: Finished) -> list[str]:
    return [line for line in finished.stderr.splitlines() if line.startswith("warning:")]


def errors_of(finished: Finished) -> list[str]:
    return [line for line in finished.stderr.splitlines() if line.startswith("error:")]


def run_several(project: Project, *commands: tuple[object, ...]) -> list[Finished]:
    """Several command lines in one process, which spares the imports."""
    done = project.run_python(SEVERAL, json.dumps([list(map(str, command)) for command in commands]))
    assert done.code == DONE, done.stderr
    return [Finished(*json.loads(line)) for line in done.stdout.splitlines()]


def test_auto_takes_ghost_when_its_files_are_there(swapped):
    finished, out = swapped
    assert finished.code == DONE, finished.stderr
    assert finished.stdout == f"{out}\n"
    lines = finished.stderr.splitlines()
    assert lines[:2] == ["pack: ghost (its files are here)", "swapped 1 face in 1 frame"]
    assert len(lines) == 3, "and the time"
    assert_only_the_face_changed(out)


def test_the_same_command_gives_the_same_file_and_other_flags_another(project, swapped):
    commands = {"again": (), "crop_256": ("--crop_size", "256")}
    outs = [project.folder / f"{name}.png" for name in commands]
    finished = run_several(
        project,
        *((*GHOST, "--out_image_name", out, *flags) for out, flags in zip(outs, commands.values(), strict=True)),
    )
    for done, out in zip(finished, outs, strict=True):
        assert (done.code, done.stdout) == (DONE, f"{out}\n")
        assert "swapped 1 face " in done.stderr
        assert_only_the_face_changed(out)
    assert len({unsigned(path) for path in (swapped[1], *outs)}) == 2
    assert unsigned(outs[0]) == unsigned(swapped[1])


@pytest.mark.slow
def test_super_resolution_changes_the_face_and_only_the_face(project, swapped):
    out = project.folder / "sr.png"
    finished = project.run(*GHOST, "--out_image_name", out, "--use_sr", "--quiet")
    assert (finished.code, finished.stderr) == (DONE, "")
    assert_only_the_face_changed(out)
    assert unsigned(out) != unsigned(swapped[1])


def make_clip(path: Path, folder: Path) -> Path:
    """The example photo, sliding, with sound and a black frame."""
    photo = cv2.resize(cv2.imread(str(COLLINS)), (256, 256), interpolation=cv2.INTER_AREA)
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"{index}.png"), np.roll(photo, index, axis=1) * np.uint8(index != BLACK_FRAME))
    picture = ("-framerate", "25", "-i", folder / "%d.png", "-f", "lavfi", "-i", "sine=d=0.16")
    run_ffmpeg(*picture, "-c:v", "libx264", "-crf", "4", "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


def read_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]).astype(int)


def test_a_clip_keeps_frames_times_and_sound(project, tmp_path):
    clip, out = make_clip(tmp_path / "clip.mp4", tmp_path), tmp_path / "out.mp4"
    weights = project.place("G_unet_2blocks")
    finished = project.run("--G_path", weights, "--target_video", clip, "--out_video_name", out)
    assert finished.code == DONE, finished.stderr
    assert f"swapped {FRAMES - 1} faces in {FRAMES} frames" in finished.stderr
    assert finished.stderr.startswith("pack: ghost (--G_path asks for it)")
    assert not warnings_of(finished)
    assert frame_times(out) == frame_times(clip)
    assert payloads(out) == payloads(clip)
    difference = np.abs(read_frames(out) - read_frames(clip)).mean(axis=3)
    left, top, right, bottom = face_region(256)
    inside = difference[:, top:bottom, left:right].mean(axis=(1, 2))
    difference[:, top - 2 : bottom + 2, left - 2 : right + 2] = 0
    assert difference.mean() < 3, "the rest only goes through the encoder"
    assert inside[BLACK_FRAME] < 1
    assert np.delete(inside, BLACK_FRAME).min() > 8


def test_without_2d106_there_is_one_warning(project, tmp_path):
    place, out = project.place("2d106det"), tmp_path / "out.png"
    aside = place.rename(tmp_path / "aside.onnx")
    try:
        finished = project.run(*GHOST, "--out_image_name", out)
    finally:
        aside.replace(place)
    assert finished.code == DONE, finished.stderr
    (warning,) = warnings_of(finished)
    assert "2d106det.onnx" in warning and "--download landmarks" in warning
    assert_only_the_face_changed(out)


def test_each_missing_file_is_named_with_place_and_command(tmp_path):
    bare = Project(tmp_path / "project", bare=True)
    finished = bare.run(*GHOST, "--use_sr")
    (error,) = errors_of(finished)
    assert (finished.code, finished.stdout) == (MODEL_FILES, "")
    for name, group in (("scrfd_10g_bnkps", "ghost"), ("backbone", "ghost"), ("G_unet_2blocks", "ghost")):
        place = bare.place(name).relative_to(bare.folder)
        assert f"{place} is missing, get it with 'python inference.py --download {group}'" in error
    assert "weights/10_net_G.pth is missing, get it with 'python inference.py --download sr'" in error
    one_block = bare.run(*GHOST, "--num_blocks", "1")
    assert one_block.code == MODEL_FILES
    assert "weights/G_unet_1block.pth is missing" in one_block.stderr
    assert "--download G_unet_1block'" in one_block.stderr
    auto = bare.run(*IMAGE, "--out_image_name", tmp_path / "out.png")
    assert auto.code == DONE, auto.stderr
    assert auto.stderr.startswith("pack: builtin (the ghost pack's files are not all here")


def test_generators_that_are_refused(project, tmp_path):
    good = project.place("G_unet_2blocks")
    content = good.read_bytes()
    (tmp_path / "truncated.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "damaged.pth").write_bytes(content[:100_000] + bytes([content[100_000] ^ 1]) + content[100_001:])
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "foreign.pth")
    with torch.device("meta"):
        network = AEI_Net("unet", 1)
    state = overlapping_state(network)
    del state["generator.AADBlk3.add_blocks.0.fc1.bias"], state["generator.up1.bias"]
    torch.save(state, tmp_path / "incomplete.pth")
    wanted = {
        "truncated.pth": "truncated, or not as it was written",
        "damaged.pth": "the checksum of",
        "foreign.pth": "'generator.AADBlk1.add_blocks.0.conv1.weight' is missing",
        "incomplete.pth": "'generator.up1.bias' is missing (the first of 2 differences)",
        "missing.pth": "is missing",
    }
    contradiction = (*GHOST, "--G_path", good, "--num_blocks", "1")
    half = (*GHOST, "--precision", "fp16", "--device", "cpu")
    commands = [(*GHOST, "--G_path", tmp_path / name) for name in wanted]
    *refused, contradicted, slow = run_several(project, *commands, contradiction, half)
    for finished, (name, words) in zip(refused, wanted.items(), strict=True):
        (error,) = errors_of(finished)
        assert (finished.code, finished.stdout) == (MODEL_FILES, "")
        assert str(tmp_path / name) in error and words in error
    assert contradicted.code == BAD_ARGUMENT
    assert f"--num_blocks 1 contradicts {str(good)!r}, which holds AEI-Net unet with 2 blocks" in contradicted.stderr
    assert slow.code == BAD_ARGUMENT
    assert "--precision fp16 is slower than fp32 on a CPU" in slow.stderr


def test_a_replaced_generator_is_noticed(project, swapped, tmp_path):
    good = project.place("G_unet_2blocks")
    assert good.with_name("G_unet_2blocks.pth.sha256").is_file(), "the first run pinned it"
    aside = good.rename(tmp_path / "aside.pth")
    try:
        good.write_bytes(aside.read_bytes()[:-1])
        finished = project.run(*GHOST)
        assert finished.code == MODEL_FILES
        assert "weights/G_unet_2blocks.pth is damaged (SHA-256 differs from the one pinned" in finished.stderr
        doctor = project.run("--doctor")
        assert doctor.code == FAILED
        assert "pack ghost: damaged" in doctor.stdout
        assert "problem: weights/G_unet_2blocks.pth is damaged" in doctor.stdout
    finally:
        aside.replace(good)


def test_a_detection_size_that_the_net_cannot_have_is_refused(command_line):
    finished = command_line("--det_size", "640", "500")
    assert finished.returncode == BAD_ARGUMENT
    assert "'500' is not a multiple of 32" in finished.stderr


def test_doctor_and_list_tell_the_packs(project, tmp_path):
    doctor = project.run("--doctor")
    assert doctor.code == DONE, doctor.stdout
    assert "pack builtin 1: complete\npack ghost: complete\nno problems found\n" in doctor.stdout
    listed = project.run("--list_weights")
    assert listed.code == DONE, listed.stderr
    assert "pack ghost: complete\n" in listed.stdout
    bare = Project(tmp_path / "project", bare=True).run("--list_weights")
    assert "scrfd_10g_bnkps.onnx, arcface_model/backbone.pth, weights/G_unet_2blocks.pth missing" in bare.stdout
    assert "get it with 'python inference.py --download ghost'" in bare.stdout


def test_doctor_sees_both_onnxruntimes(tmp_path):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-9.9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9.9\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "inference.py", "--doctor"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == FAILED
    assert "problem: onnxruntime and onnxruntime-gpu are both installed" in done.stdout
    assert "pip uninstall onnxruntime onnxruntime-gpu" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "num_blocks"), [("resnet", 1), ("unet", 2)])
def test_the_exported_generator_equals_torch(project, tmp_path, backbone, num_blocks):
    import onnxruntime

    from models.checkpoints import load_aei_net

    weights = write_generator(tmp_path / "generator.pth", backbone, num_blocks)
    out = tmp_path / "new folder" / "generator.onnx"
    finished = project.run("--pack", "ghost", "--export_onnx", out, "--G_path", weights)
    assert (finished.code, finished.stdout, finished.stderr) == (DONE, f"{out}\n", "")
    assert list(out.parent.iterdir()) == [out]
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [end.name for end in (*session.get_inputs(), *session.get_outputs())] == ["target", "identity", "image"]
    network, random = load_aei_net(weights), np.random.default_rng(0)
    for count in (1, 3):
        target = random.uniform(-1, 1, (count, 3, 256, 256)).astype(np.float32)
        identity = random.standard_normal((count, 512)).astype(np.float32)
        (found,) = session.run(None, {"target": target, "identity": identity})
        with torch.inference_mode():
            wanted = network(torch.from_numpy(target), torch.from_numpy(identity))[0].numpy()
        assert np.abs(found - wanted).max() <= 1e-3 * wanted.std()
