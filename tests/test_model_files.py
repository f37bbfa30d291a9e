"""The table of downloadable files, and what a look at them finds."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import ModelFileError
from utils.model_files import state as state_module
from utils.model_files.commands import list_weights, table_lines
from utils.model_files.sidecar import Sidecar, parse_sidecar, read_sidecar, sidecar_path, stamp_of, write_sidecar
from utils.model_files.state import State, has_pack, look_at, missing_files, place_of, resolve, resolve_all
from utils.model_files.table import (
    DOWNLOAD_NAMES,
    GENERATORS,
    GROUPS,
    MODEL_FILES,
    ModelFile,
    files_named,
    required_files,
)

ROOT = Path(__file__).resolve().parents[1]
CONTENT = b"\x80\x02 stands in for a checkpoint"
KNOWN = ModelFile(
    "net", "net.onnx", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "https://x/net", (), "free", None, "a test"
)
UNKNOWN = ModelFile("net", "net.pth", None, None, "https://x/net", (), "free", None, "a test")


def lay(root: Path, file: ModelFile, content: bytes = CONTENT) -> Path:
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_table_holds_the_projects_places() -> None:
    assert {file.name: file.path for file in MODEL_FILES} == {
        "scrfd_10g_bnkps": "insightface_func/models/antelope/scrfd_10g_bnkps.onnx",
        "glintr100": "insightface_func/models/antelope/glintr100.onnx",
        "backbone": "arcface_model/backbone.pth",
        "G_unet_1block": "weights/G_unet_1block.pth",
        "G_unet_2blocks": "weights/G_unet_2blocks.pth",
        "G_unet_3blocks": "weights/G_unet_3blocks.pth",
        "10_net_G": "weights/10_net_G.pth",
        "2d106det": "coordinate_reg/model/2d106det.onnx",
    }
    assert len(set(DOWNLOAD_NAMES)) == len(DOWNLOAD_NAMES)
    assert GROUPS == ("ghost", "landmarks", "sr")


@pytest.mark.parametrize("file", MODEL_FILES, ids=lambda file: file.name)
def test_every_record_makes_sense(file: ModelFile) -> None:
    assert PurePosixPath(file.path).stem == file.name
    assert (file.bytes is None) == (file.sha256 is None)
    assert file.url or file.archives
    for url in filter(None, [file.url, *(archive.url for archive in file.archives)]):
        assert url.startswith("https://github.com/")
    for digest in filter(None, [file.sha256, *(archive.sha256 for archive in file.archives)]):
        assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    assert not file.archives or file.sha256, "what comes out of an archive must be recognised"
    assert ("non-commercial" in file.licence) == (not file.name.startswith("G_unet"))


@pytest.mark.parametrize("file", MODEL_FILES, ids=lambda file: file.name)
def test_git_ignores_a_file_and_what_lies_beside_it(file: ModelFile) -> None:
    path = PurePosixPath(file.path)
    names = [path.name + more for more in ("", ".sha256", ".part", ".part.json")] + [f".{path.name}.lock"]
    paths = [str(path.with_name(name)) for name in names]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git")
    ignored = subprocess.run(["git", "check-ignore", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == paths


def test_required_files_follow_the_generator() -> None:
    names = [[file.name for file in required_files("ghost", generator)] for generator in (*GENERATORS.values(), None)]
    assert [entry[:2] for entry in names] == [["scrfd_10g_bnkps", "backbone"]] * 4
    assert [entry[2:] for entry in names] == [["G_unet_1block"], ["G_unet_2blocks"], ["G_unet_3blocks"], []]
    assert [file.name for file in required_files("landmarks")] == ["2d106det"]
    with pytest.raises(KeyError):
        files_named("nose")


def test_missing_files_are_all_named_with_place_and_command(tmp_path: Path) -> None:
    lay(tmp_path, files_named("backbone")[0])
    assert [file.name for file in missing_files("ghost", root=tmp_path)] == ["scrfd_10g_bnkps", "G_unet_2blocks"]
    assert not has_pack("ghost", root=tmp_path)
    with pytest.raises(ModelFileError) as error:
        resolve_all(required_files("ghost", GENERATORS[3]), tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert error.value.exit_code == 5
    for name, command in (("scrfd_10g_bnkps", "ghost"), ("G_unet_3blocks", "G_unet_3blocks")):
        (file,) = files_named(name)
        assert f"{tmp_path / file.path} is missing, get it with 'python inference.py --download {command}'" in message
    assert "backbone" not in message


def test_a_pack_is_there_even_if_damaged(tmp_path: Path) -> None:
    for file in required_files("ghost"):
        lay(tmp_path, file)
    assert has_pack("ghost", root=tmp_path), "so that the damage is reported instead of passed over"
    with pytest.raises(ModelFileError, match=r"scrfd_10g_bnkps\.onnx is damaged \(\d+ bytes instead of 16923827\)"):
        resolve("scrfd_10g_bnkps", tmp_path)


def test_the_other_name_of_the_landmarks_is_as_good(tmp_path: Path) -> None:
    (file,) = files_named("2d106det")
    place = tmp_path / file.path
    assert place_of(file, tmp_path) == place
    other = place.with_name("2d106det-0000.onnx")
    other.parent.mkdir(parents=True)
    other.touch()
    assert place_of(file, tmp_path) == other
    assert not missing_files("landmarks", root=tmp_path)
    place.touch()
    assert place_of(file, tmp_path) == place


def test_a_known_file_is_verified_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lay(tmp_path, KNOWN)
    hashed: list[Path] = []
    original = state_module.sha256_of

    def counting(path: Path) -> str:
        hashed.append(path)
        return original(path)

    monkeypatch.setattr(state_module, "sha256_of", counting)
    for _ in range(3):
        assert resolve_all([KNOWN], tmp_path) == {"net": path}
    assert len(hashed) == 1, "the sidecar spares the second look"
    assert look_at(KNOWN, tmp_path, trust_stamp=False).state is State.VERIFIED
    assert len(hashed) == 2
    path.write_bytes(CONTENT[:-1] + b"?")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ModelFileError, match="SHA-256 differs from the one published"):
        resolve_all([KNOWN], tmp_path)


def test_an_unknown_file_is_pinned_at_first_use(tmp_path: Path) -> None:
    path = lay(tmp_path, UNKNOWN)
    assert look_at(UNKNOWN, tmp_path).state is State.UNPINNED
    assert not sidecar_path(path).exists(), "a look changes nothing"
    resolve_all([UNKNOWN], tmp_path)
    finding = look_at(UNKNOWN, tmp_path)
    assert finding.state is State.PINNED
    assert finding.detail.startswith("found in place, ")
    path.write_bytes(CONTENT + b"more")
    with pytest.raises(ModelFileError, match=r"differs from the one pinned \(found in place.*delete net\.pth\.sha256"):
        resolve_all([UNKNOWN], tmp_path)
    sidecar_path(path).unlink()
    assert resolve_all([UNKNOWN], tmp_path) == {"net": path}


def test_a_copy_of_a_pinned_file_is_compared_again(tmp_path: Path) -> None:
    path = lay(tmp_path, UNKNOWN)
    resolve_all([UNKNOWN], tmp_path)
    before = read_sidecar(path)
    os.utime(path, ns=(5, 5))
    resolve_all([UNKNOWN], tmp_path)
    after = read_sidecar(path)
    assert before is not None and after is not None
    assert (after.sha256, after.origin) == (before.sha256, before.origin)
    assert after.stamp == (len(CONTENT), 5)


@pytest.mark.parametrize(
    ("content", "fault"), [(b"", "is empty"), (b"<html>", "is no checkpoint"), (b"PK\3\4 cut", "is truncated")]
)
def test_what_shows_without_a_checksum(tmp_path: Path, content: bytes, fault: str) -> None:
    lay(tmp_path, UNKNOWN, content)
    with pytest.raises(ModelFileError, match=fault):
        resolve_all([UNKNOWN], tmp_path)


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / UNKNOWN.path).mkdir()
    with pytest.raises(ModelFileError, match="is no file"):
        resolve_all([UNKNOWN], tmp_path)


def test_a_malformed_sidecar(tmp_path: Path) -> None:
    for file in (KNOWN, UNKNOWN):
        sidecar_path(lay(tmp_path, file)).write_bytes(b"\xff?")
    assert resolve_all([KNOWN], tmp_path), "the table knows better"
    assert read_sidecar(tmp_path / KNOWN.path) is not None, "and it is written anew"
    with pytest.raises(ModelFileError, match=r"net\.pth\.sha256 is malformed"):
        resolve_all([UNKNOWN], tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("file", [KNOWN, UNKNOWN], ids=["known", "unknown"])
def test_a_sidecar_that_cannot_be_written_is_no_reason_to_refuse(tmp_path: Path, file: ModelFile) -> None:
    import resource

    path = lay(tmp_path, file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        assert resolve_all([file], tmp_path) == {"net": path}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]


def test_a_sidecar_is_what_sha256sum_reads(tmp_path: Path) -> None:
    path = lay(tmp_path, UNKNOWN)
    sidecar = Sidecar(hashlib.sha256(CONTENT).hexdigest(), stamp_of(path), "a test")
    write_sidecar(path, sidecar)
    assert read_sidecar(path) == sidecar
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", sidecar_path(path).name]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


@given(text=st.text())
def test_any_text_is_a_sidecar_or_an_error(text: str) -> None:
    try:
        assert len(parse_sidecar(text).sha256) == 64
    except ValueError as error:
        assert "SHA-256" in str(error)
    assert parse_sidecar("0" * 64 + "\n" + text).sha256 == "0" * 64


def test_the_listing_tells_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, files_named("sr")[0])
    list_weights(tmp_path)
    lines = capsys.readouterr().out
    for file in MODEL_FILES:
        assert f"\n    place     {tmp_path / file.path}\n" in lines
        assert file.licence in lines
        assert file.use in lines
    assert "missing" in lines and "present, not pinned yet" in lines
    assert "--download landmarks" in lines and "a member of https://github.com/deepinsight" in lines
    assert "--download sr" not in lines, "it is there"
    assert "pack builtin: verified" in lines and "pack ghost: " in lines
    assert not sidecar_path(tmp_path / files_named("sr")[0].path).exists(), "listing writes nothing"


def test_the_listing_reads_every_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lay(tmp_path, files_named("sr")[0])
    resolve("10_net_G", tmp_path)
    times = path.stat()
    path.write_bytes(CONTENT[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ModelFileError, match=r"10_net_G\.pth is damaged"):
        list_weights(tmp_path)
    listing = capsys.readouterr().out
    assert "damaged" in listing and "fault     is damaged (SHA-256 differs" in listing
    assert any("origin" in line for line in table_lines([look_at(files_named("sr")[0], tmp_path)]))


def test_the_command_line_lists_and_refuses_unknown_names() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "inference.py", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    listing = run("--list_weights")
    assert listing.returncode in (0, 5), listing.stderr
    assert "place     weights/G_unet_2blocks.pth" in listing.stdout
    refused = run("--download", "nose")
    assert refused.returncode == 2
    assert "'ghost'" in refused.stderr
