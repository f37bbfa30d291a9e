"""From the figures of single runs to medians, ratios and a table; pure functions."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from utils.inference.stopwatch import STAGES
from utils.version import __version__

PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "opencv-python", "numpy")
Figures = dict[str, Any]


def summarise(settings: Sequence[Sequence[str]], runs: Sequence[Sequence[Mapping[str, Any]]]) -> Figures:
    """Medians of one setting, or of two that took turns, and then the ratios of the first to the second.

    Args:
        settings: the flags of each.
        runs: of each setting, its rounds: `wall_s` of the whole process, and the `RunFigures` of a run `together` and one `apart`.
    """
    described = [_setting(flags, rounds) for flags, rounds in zip(settings, runs, strict=True)]
    figures: Figures = {
        "version": __version__,
        "machine": _machine(),
        "rounds": len(runs[0]),
        "settings": described,
    }
    if len(runs) == 2:
        figures["ratios"] = _ratios(*described)
    return figures


def _setting(flags: Sequence[str], rounds: Sequence[Mapping[str, Any]]) -> Figures:
    first = rounds[0]["together"]
    frames = max(first["frames"], 1)

    def middle(how: str, name: str) -> float | None:
        values = [one[how][name] for one in rounds]
        return None if None in values else median(values)

    names = [name for name in STAGES if any(name in one["apart"]["stages"] for one in rounds)]
    stages_s = {name: median([one["apart"]["stages"].get(name, 0.0) for one in rounds]) for name in names}
    wall_s = median([one["wall_s"] for one in rounds])
    return {
        "flags": shlex.join(flags),
        "pack": first["pack"],
        "settings": first["settings"],
        "size": first["size"],
        "frames": first["frames"],
        "faces": first["faces"],
        "wall_s": wall_s,
        "wall_s_of_rounds": [one["wall_s"] for one in rounds],
        "fps": frames / wall_s,
        "start_up_s": middle("together", "start_up_s"),
        "cpu_s": middle("together", "cpu_s"),
        "peak_mb": middle("together", "peak_mb"),
        "overlap": median([one["apart"]["swap_s"] / one["together"]["swap_s"] for one in rounds]),
        "stages_ms": {name: seconds / frames * 1000 for name, seconds in stages_s.items() if name != "start-up"},
    }


def _ratios(first: Figures, second: Figures) -> Figures:
    """Of the first to the second; medians of both, since the two took turns."""
    shared = [name for name in first["stages_ms"] if second["stages_ms"].get(name)]
    names = [name for name in ("wall_s", "fps", "start_up_s", "cpu_s", "peak_mb") if first[name] and second[name]]
    return {
        **{name: first[name] / second[name] for name in names},
        "stages_ms": {name: first["stages_ms"][name] / second["stages_ms"][name] for name in shared},
    }


def _machine() -> Figures:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor()


def as_text(figures: Figures) -> str:
    """The figures of `summarise` as lines to read."""
    settings, ratios = figures["settings"], figures.get("ratios")
    machine = figures["machine"]
    lines = [
        f"version {figures['version']}, {machine['processor']}, {machine['cores']} cores; medians of {figures['rounds']}"
    ]
    for name, setting in zip("AB", settings, strict=False):
        width, height = setting["size"]
        lines.append(f"{name}: {setting['flags'] or '(no flags)'}")
        lines.append(
            f"   {setting['pack']}; {width}x{height}, {setting['frames']} frames, {setting['faces']} faces swapped"
        )
    heads = [f"{name:>10}" for name, _ in zip("AB", settings, strict=False)] + ([f"{'A / B':>9}"] if ratios else [])
    lines += ["", f"{'':28}{''.join(heads)}"]
    for title, name, form in (
        ("whole command, s", "wall_s", ".2f"),
        ("frames a second", "fps", ".1f"),
        ("start-up, s", "start_up_s", ".2f"),
        ("all cores, s", "cpu_s", ".1f"),
        ("peak memory, MB", "peak_mb", ".0f"),
        ("gain by overlap, x", "overlap", ".2f"),
    ):
        lines.append(_line(title, [setting[name] for setting in settings], form, ratios and ratios.get(name)))
    lines += ["", "stages one after another, ms a frame:"]
    names = [name for name in STAGES if any(name in setting["stages_ms"] for setting in settings)]
    sums = [sum(setting["stages_ms"].values()) or 1.0 for setting in settings]
    for name in names:
        values = [setting["stages_ms"].get(name, 0.0) for setting in settings]
        shares = " ".join(f"{value / total:7.0%}" for value, total in zip(values, sums, strict=True))
        lines.append(f"{_line(name, values, '.2f', ratios and ratios['stages_ms'].get(name))}  {shares}")
    lines.append(_line("sum", sums, ".2f", sums[0] / sums[1] if ratios else None))
    return "\n".join(lines)


def _line(title: str, values: Sequence[float | None], form: str, ratio: float | None) -> str:
    shown = [f"{'-' if value is None else format(value, form):>10}" for value in values]
    return f"{title:<28}{''.join(shown)}{'' if ratio is None else f'{ratio:>9.2f}'}"
