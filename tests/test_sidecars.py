"""Manifests that lie beside their video: never in the place of something else, never without it, found through links."""

from __future__ import annotations

import shutil

import pytest
from conftest import COLLINS_CLIP, HOPPER

from utils.errors import UnwritableOutput
from utils.inference.video.signing import check_sidecar
from utils.provenance.formats import sidecars_of
from utils.provenance.manifest import detached_manifest
from utils.provenance.marking import Marking
from utils.provenance.verify import INTACT, verify

DONE, UNWRITABLE = 0, 6
NOTES = b"what somebody wrote"


def test_a_file_of_somebody_else_in_the_place_of_a_manifest_stays(command_line, tmp_path):
    (tmp_path / "out.mkv.c2pa").write_bytes(NOTES)
    refused = command_line("--end", "2f", "--out_video_name", tmp_path / "out.mkv")
    assert refused.returncode == UNWRITABLE
    assert "out.mkv.c2pa' is no manifest" in refused.stderr.splitlines()[-1]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [NOTES]


@pytest.mark.parametrize("kind", ["folder", "video", "too long", "dangling link"])
def test_what_cannot_be_a_manifest_is_refused_and_nothing_else(tmp_path, kind):
    out = tmp_path / ("n" * 250 + ".mkv" if kind == "too long" else "out.mkv")
    sidecar = sidecars_of(out)[0]
    if kind == "folder":
        sidecar.mkdir()
    elif kind == "video":
        shutil.copy(COLLINS_CLIP, sidecar)
    elif kind == "dangling link":
        sidecar.symlink_to("none")
        check_sidecar(out)
        return
    with pytest.raises(UnwritableOutput, match="another"):
        check_sidecar(out)
    check_sidecar(out.with_suffix(".mp4"))


def test_an_older_manifest_is_replaced(tmp_path):
    out = tmp_path / "out.mkv"
    shutil.copy(COLLINS_CLIP, out)
    sidecars_of(out)[0].write_bytes(detached_manifest(out, None, Marking()))
    check_sidecar(out)


def test_a_batch_makes_anew_what_lost_its_manifest_and_follows_links(command_line, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out.mkv").symlink_to(tmp_path / "real" / "clip.mkv")
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(f"target_video,out_video_name,end\n{COLLINS_CLIP},{tmp_path}/out.mkv,2f\n", encoding="utf-8")
    sidecar = tmp_path / "real" / "clip.mkv.c2pa"
    for made in (True, False, True):
        done = command_line("--jobs", jobs, "--source_paths", HOPPER)
        assert done.returncode == DONE, done.stderr
        assert bool(done.stdout) == made
        assert verify(tmp_path / "out.mkv").exit_code == verify(tmp_path / "real" / "clip.mkv").exit_code == INTACT
        if not made:
            sidecar.unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.csv", "out.mkv", "real", "results.jsonl"]


@pytest.mark.parametrize("length", [200, 252, 255])
def test_a_name_that_leaves_no_room_for_a_manifest_has_a_verdict(tmp_path, length):
    path = tmp_path / ("n" * (length - 4) + ".mkv")
    shutil.copy(COLLINS_CLIP, path)
    assert verify(path).exit_code == 7
