"""What comes with the tool is pinned, and its licences are told."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

from utils.errors import ModelFileError
from utils.weights import BUILTIN_FOLDER, builtin_file

REQUIREMENTS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-ray.txt",
    "requirements-gpu.txt",
    "requirements-pack.txt",
)


def requirements_of(name: str) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought_by(name: str) -> set[str]:
    """All installed packages that a list of requirements brings."""
    waiting, found = [one.name for one in requirements_of(name)], set()
    while waiting:
        package = canonical(waiting.pop())
        if package in found:
            continue
        found.add(package)
        try:
            all_needed = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:  # onnxruntime, where onnxruntime-gpu took its place
            continue
        for needed in all_needed:
            requirement = Requirement(needed)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_versions_are_pinned(name):
    for requirement in requirements_of(name):
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement


def test_every_package_is_in_the_notice_with_its_licence():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    told = dict(re.findall(r"^  ([a-z0-9-]+) {2,}(\S.*)$", notice, re.MULTILINE))
    with_cuda = {name for name in brought_by("requirements.txt") if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert brought_by("requirements.txt") - with_cuda <= set(told)
    assert "NVIDIA" in told["torch"]


def test_the_embedded_pack_is_pinned_file_by_file(tmp_path):
    manifest = json.loads((BUILTIN_FOLDER / "MANIFEST.json").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"[0-9a-f]{64}", file["sha256"]) and file["licence"] for file in manifest["files"])
    for file in manifest["files"]:
        folder = tmp_path / Path(file["name"]).stem
        shutil.copytree(BUILTIN_FOLDER, folder)
        content = bytearray((folder / file["name"]).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file["name"]).write_bytes(content)
        with pytest.raises(ModelFileError, match=re.escape(file["name"])):
            builtin_file(file["name"], folder)
        shutil.rmtree(folder)
