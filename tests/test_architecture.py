"""The structure that the README promises: imports go one way, and heavy libraries wait until they are needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the top to the bottom; a module may import from its own layer and from lower ones.
LAYERS = [
    ["inference", "utils.evaluate", "utils.build_pack", "utils.benchmark"],
    ["utils.batch", "utils.completion"],
    ["utils.one_swap"],
    [
        "utils.flags",
        "utils.batch.flags",
        "utils.benchmark.flags",
        "utils.pack_flags",
        "utils.face_list",
        "models.onnx_export",
    ],
    ["models.packs"],
    ["utils.inference.face_swapper"],
    ["utils.inference.request", "utils.inference.video.swap"],
    ["utils.inference.video.rendering"],
    ["utils.inference.video.frame_files"],
    ["models.checkpoints"],
    ["models.mesh", "insightface_func", "arcface_model", "coordinate_reg"],
    ["models.aei_net", "models.sr_net", "models.enhancement"],
    ["models.aei_encoders", "models.aad"],
    ["utils.inference.tracking.checkpoint"],
    ["utils.inference.core", "utils.inference.video_processing", "utils.inference.video.parts"],
    ["utils.inference.video.pictures", "utils.pictures"],
    ["utils"],
]
# The pure core: geometry, matching, blending. NumPy, SciPy and OpenCV only.
PURE = [
    *("alignment", "shrinking", "boxes", "masks", "blending", "records", "model_pack", "image_processing", "core"),
    *("calibration", "overlap", "stopwatch"),
    *("tracking/cuts", "tracking/tracks", "tracking/people", "tracking/matching", "tracking/gaps", "tracking/search"),
    *("steadying/smoothing", "steadying/landmark_smoothing", "steadying/record_smoothing", "steadying/fading"),
    *("steadying/window", "steadying/motion"),
    *("occlusion/appearance", "occlusion/clear_face", "occlusion/marking", "occlusion/visibility"),
    *("video/planes", "video/colour_views"),
]
PURE_PACKAGES = {"numpy", "cv2", "scipy"}


def project_files():
    folders = ["models", "utils", "insightface_func", "arcface_model", "coordinate_reg"]
    return [ROOT / "inference.py", *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))]


def quoted_by_hand(tree):
    """Lines of f-strings that put apostrophes around a value themselves: `repr` also escapes what is in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for before, value, after in zip(node.values, node.values[1:], node.values[2:], strict=False):
                if isinstance(value, ast.FormattedValue) and value.conversion == -1:
                    left, right = getattr(before, "value", ""), getattr(after, "value", "")
                    if isinstance(left, str) and isinstance(right, str) and left[-1:] == right[:1] == "'":
                        yield value.lineno


def test_whatever_a_message_quotes_is_escaped():
    assert [*quoted_by_hand(ast.parse("""f"'{a}' {b!r} 'c {d}' '{e}.f' {g:9}'" """))] == [1]
    found = {path.name: [*quoted_by_hand(ast.parse(path.read_text(encoding="utf-8")))] for path in project_files()}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_nothing_is_printed_but_by_the_one_writer_of_each_stream():
    tools = {"evaluate", "build_pack"}  # for those who work on the project
    printing = [
        path.relative_to(ROOT).as_posix()
        for path in project_files()
        if not tools & set(path.parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert set(printing) == {"utils/streams.py"}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def layer_of(module):
    matches = [
        (len(prefix), layer)
        for layer, prefixes in enumerate(LAYERS)
        for prefix in prefixes
        if f"{module}.".startswith(f"{prefix}.")
    ]
    return max(matches)[1] if matches else None


@pytest.mark.parametrize("path", project_files(), ids=module_name)
def test_imports_go_down(path):
    own = layer_of(module_name(path))
    if module_name(path) == "utils.inference.face_swapper":
        own = layer_of("models.packs")  # it is handed the pack; it only shares the layer
    for imported in imports_of(path):
        other = layer_of(imported)
        assert other is None or own is None or other >= own, (
            f"{module_name(path)} imports {imported}, which lies above it"
        )


@pytest.mark.parametrize("name", PURE)
def test_the_core_is_pure(name):
    path = ROOT / "utils" / "inference" / f"{name}.py"
    outside = {imported.split(".")[0] for imported in imports_of(path)} - set(sys.stdlib_module_names) - {"utils"}
    assert outside <= PURE_PACKAGES


@pytest.mark.parametrize("path", project_files(), ids=module_name)
def test_modules_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_readme_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")]
    there = {name for text in sources for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}
    assert named
    assert named <= there, sorted(named - there)


def test_help_answers_at_once():
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, str(ROOT / "inference.py"), "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5
