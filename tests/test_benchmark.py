"""The benchmark: what is computed from single runs, and the command line itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import COLLINS_CLIP, HOPPER, ROOT

from utils.benchmark.report import as_text, summarise
from utils.inference.stopwatch import STAGES


def one_round(wall_s, together_s, apart_s, frames=10, **stages_s):
    def run(swap_s):
        return {
            "pack": "builtin 1",
            "settings": "",
            "size": [64, 48],
            "frames": frames,
            "faces": frames,
            "start_up_s": 0.5,
            "swap_s": swap_s,
            "cpu_s": 2 * swap_s,
            "peak_mb": 100.0,
            "stages": {"start-up": 0.5, **stages_s},
        }

    return {"wall_s": wall_s, "together": run(together_s), "apart": run(apart_s)}


def test_medians_are_taken_over_the_rounds_and_stages_are_per_frame():
    rounds = [one_round(2, 1, 3, decode=0.1), one_round(4, 2, 3, decode=0.3), one_round(9, 3, 3, decode=0.2)]
    (setting,) = summarise([["--swap", "all"]], [rounds])["settings"]
    assert setting["wall_s"] == 4
    assert setting["fps"] == 10 / 4
    assert setting["overlap"] == 1.5
    assert setting["stages_ms"] == {"decode": pytest.approx(20)}
    assert setting["flags"] == "--swap all"


def test_ratios_are_of_the_first_setting_to_the_second():
    fast, slow = one_round(2, 1, 2, decode=0.1, generate=0.2), one_round(8, 4, 4, decode=0.1, generate=0.8)
    ratios = summarise([[], ["--batch_size", "1"]], [[fast], [slow]])["ratios"]
    assert ratios["wall_s"] == 0.25
    assert ratios["fps"] == 4
    assert ratios["stages_ms"] == {"decode": 1, "generate": pytest.approx(0.25)}


def test_a_stage_or_a_figure_that_one_setting_lacks_has_no_ratio_but_is_shown():
    first, second = one_round(2, 1, 2, generate=0.2, mask=0.1), one_round(2, 1, 2, generate=0.2)
    second["together"]["peak_mb"] = None
    figures = summarise([[], []], [[first], [second]])
    assert "peak_mb" not in figures["ratios"]
    lines = as_text(figures).splitlines()
    mask = next(line for line in lines if line.startswith("mask"))
    assert mask.split() == ["mask", "10.00", "0.00", "33%", "0%"]


def test_the_command_line_measures_every_stage_and_keeps_no_result(command_line, tmp_path):
    figures_path = tmp_path / "figures.json"
    flags = ["--pack", "builtin", "--source_paths", HOPPER, "--target_video", COLLINS_CLIP, "--end", "3f"]
    done = command_line("--benchmark", figures_path, "--rounds", "1", "--compare", "--strength 0.5", *flags)
    assert done.returncode == 0, done.stderr
    figures = json.loads(figures_path.read_text())
    first, second = figures["settings"]
    assert first["frames"] == second["frames"] == 3
    assert second["flags"].endswith("--strength 0.5")
    assert set(first["stages_ms"]) == set(STAGES) - {"start-up", "mask"}
    assert all(milliseconds > 0 for milliseconds in first["stages_ms"].values())
    assert sum(first["stages_ms"].values()) * 3 / 1000 < first["wall_s"]
    assert "frames a second" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--keep_frames", "frames", "--target_video", COLLINS_CLIP], "--keep_frames"),
        (["--matte", "layers", "--target_video", COLLINS_CLIP], "--matte"),
        (["--list_faces", "people", "--target_video", COLLINS_CLIP], "--list_faces"),
        (["--doctor"], "--doctor"),
    ],
)
def test_what_would_leave_something_behind_or_is_no_swap_is_refused(command_line, flags, word):
    done = command_line("--benchmark", *flags)
    assert done.returncode == 2
    assert word in done.stderr


def test_another_container_and_a_folder_that_is_named_like_ours_do_not_matter(tmp_path):
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").touch()
    flags = ["--pack", "builtin", "--source_paths", HOPPER, "--target_video", COLLINS_CLIP, "--end", "2f"]
    command = [sys.executable, ROOT / "inference.py", "--benchmark", "--rounds", "1", "--quiet", *flags]
    done = subprocess.run(
        [*command, "--codec", "prores", "--out_video_name", "r.mov"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "2 frames" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["utils"]


def test_a_run_that_fails_ends_the_benchmark_with_its_own_message_and_exit_code(command_line, tmp_path):
    done = command_line("--benchmark", "--pack", "builtin", "--target_video", tmp_path / "missing.mp4")
    assert done.returncode == 3
    assert "missing.mp4" in done.stderr
    assert "Traceback" not in done.stderr


def test_compare_without_benchmark_is_refused(command_line):
    done = command_line("--compare", "--swap all", "--target_video", COLLINS_CLIP)
    assert done.returncode == 2
    assert "--benchmark" in done.stderr
