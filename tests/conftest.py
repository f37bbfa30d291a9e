"""Shared fixtures: the loaded embedded pack, the example photos, and the command line as a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from hypothesis import settings
from no_internet import GUARD

from models.packs import load_builtin_pack
from utils.inference.face_swapper import FaceSwapper
from utils.inference.model_pack import ModelPack
from utils.inference.records import Image

settings.register_profile("project", deadline=None)  # the machine's speed is no property of the code
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
HOPPER = ROOT / "examples" / "images" / "grace_hopper.jpg"
COLLINS = ROOT / "examples" / "images" / "eileen_collins.png"
COLLINS_CLIP = ROOT / "examples" / "videos" / "eileen_collins.mp4"

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def pack() -> ModelPack:
    return load_builtin_pack()


@pytest.fixture(scope="session")
def swapper(pack: ModelPack) -> FaceSwapper:
    return FaceSwapper(pack)


@pytest.fixture(scope="session")
def hopper() -> Image:
    return cv2.imread(str(HOPPER))


@pytest.fixture(scope="session")
def collins() -> Image:
    return cv2.imread(str(COLLINS))


@pytest.fixture(scope="session")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """Run inference.py in an empty folder, or in `folder`; killed if it talks to the internet, unless not `guarded`."""
    empty = tmp_path_factory.mktemp("empty")

    def run(
        *arguments: object, folder: Path = empty, guarded: bool = True, **options: object
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "inference.py"), *map(str, arguments)]
        said = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120} | options
        return subprocess.run(command, check=False, preexec_fn=GUARD if guarded else None, **said)

    return run
