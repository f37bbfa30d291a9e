"""`--doctor`: what this installation can do, and what to do about each problem."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from utils.streams import write_result

PACKAGES = (
    "torch",
    "insightface",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "opencv-python",
    "numpy",
    "scipy",
    "av",
    "ffmpeg-python",
    "imageio-ffmpeg",
)
OPTIONAL = {"onnxruntime", "onnxruntime-gpu", "openvino"}


def examine() -> tuple[list[str], list[str]]:
    """Findings, one line each, and problems, each with what to do about it."""
    findings: list[str] = [f"python {platform.python_version()} on {platform.platform()}"]
    problems: list[str] = []
    versions = {name: _version(name) for name in PACKAGES}
    findings.append(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    for name, version in versions.items():
        if version is None and name not in OPTIONAL:
            problems.append(f"{name} is not installed; run '{sys.executable} -m pip install -r requirements.txt'")
    problems += _onnxruntime_problems(versions)
    for finding, problem in (*_cuda(versions), *_ffmpeg(), *_packs()):
        findings += [finding] if finding else []
        problems += [problem] if problem else []
    return findings, problems


def report() -> int:
    """Print findings and problems to stdout; return how many problems there are.

    Raises:
        UnwritableOutput: if stdout takes nothing.
    """
    findings, problems = examine()
    told = [f"problem: {problem}" for problem in problems] or ["no problems found"]
    write_result("\n".join([*findings, *told]))
    return len(problems)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _onnxruntime_problems(versions: dict[str, str | None]) -> list[str]:
    cpu, gpu = versions["onnxruntime"], versions["onnxruntime-gpu"]
    if cpu and gpu:
        return [
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; run "
            "'pip uninstall onnxruntime onnxruntime-gpu', then 'make gpu', or reinstall requirements.txt for the CPU alone"
        ]
    return [] if cpu or gpu else ["onnxruntime is not installed; run 'pip install -r requirements.txt'"]


def _cuda(versions: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """Devices that torch and onnxruntime find; each item is (finding, problem), one of them empty."""
    providers: list[str] = []
    if versions["onnxruntime"] or versions["onnxruntime-gpu"]:
        import onnxruntime

        providers = onnxruntime.get_available_providers()
        yield f"onnxruntime providers: {', '.join(providers)}", ""
    if not versions["torch"]:
        return
    import torch

    if not torch.cuda.is_available():
        yield f"torch devices: cpu ({torch.get_num_threads()} threads)", ""
        yield _cpu_engine(), ""
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"torch device cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB", ""
    if "CUDAExecutionProvider" not in providers:
        yield "", "there is a CUDA device, but onnxruntime cannot use it; run 'make gpu'"


def _cpu_engine() -> str:
    """What runs the ghost pack's networks on a CPU."""
    from utils.devices import choose_placement

    engine = choose_placement("cpu", "auto").engine
    if engine is None:
        return "ghost pack on the CPU: torch; 'pip install -r requirements.txt' brings OpenVINO, which is twice as fast"
    return f"ghost pack on the CPU: OpenVINO, {engine.precision}, {engine.threads} threads"


def _ffmpeg() -> Iterator[tuple[str, str]]:
    import imageio_ffmpeg

    try:
        executable = imageio_ffmpeg.get_ffmpeg_exe()
        answer = subprocess.run([executable, "-version"], capture_output=True, text=True, check=True, timeout=20)
        yield f"ffmpeg: {answer.stdout.splitlines()[0]}", ""
    except (RuntimeError, OSError, subprocess.SubprocessError, IndexError) as error:
        yield (
            "",
            f"the bundled ffmpeg does not run ({error}); reinstall it with 'pip install --force-reinstall imageio-ffmpeg'",
        )


def _packs() -> Iterator[tuple[str, str]]:
    from utils.errors import ModelFileError
    from utils.model_files.state import State, fault_of, look_at, pack_line
    from utils.model_files.table import MODEL_FILES
    from utils.weights import load_manifest, verify

    try:
        manifest = load_manifest()
        for file in manifest.files.values():
            verify(file)
        yield f"pack builtin {manifest.version}: complete", ""
    except ModelFileError as error:
        yield "", str(error)
    findings = [look_at(file) for file in MODEL_FILES]
    yield pack_line(findings), ""
    yield from (("", fault_of(finding)) for finding in findings if finding.state is State.DAMAGED)
