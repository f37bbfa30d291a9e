"""What lies in a work folder is used only as a run of ours left it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.errors import BadArgument, UnwritableOutput
from utils.inference.frame_records import FrameRecord, read_records
from utils.inference.video.seen import SeenWriter, read_checkpoint
from utils.inference.video.workspace import Workspace, is_published, open_workspace, publish

posix = pytest.mark.skipif(os.name != "posix", reason="links and owners of POSIX")
FINGERPRINT, STATE = "settings", {"frames": 2, "values": [0.1, None]}


def leave_something(out):
    """What a run that was killed leaves."""
    with pytest.raises(InterruptedError), open_workspace(out, FINGERPRINT, resume=False) as workspace:
        write_two_records(workspace)
        workspace.planned.write_text("planned")
        raise InterruptedError
    return workspace


def write_two_records(workspace):
    with SeenWriter(workspace) as writer:
        for index in range(2):
            writer.write(FrameRecord(index, 40 * index, False, ()))
            writer.save(STATE)


@pytest.fixture
def kept(tmp_path):
    return leave_something(tmp_path / "out.mp4")


def resumed(out, caplog):
    """Names of what a resumed run finds; the next one finds nothing."""
    with open_workspace(out, FINGERPRINT, resume=True) as workspace:
        found = {path.name for path in workspace.folder.iterdir()} - {"in_use"}
        workspace.planned.write_text("planned anew")
    assert not workspace.folder.exists()
    return found


def test_what_an_interrupted_run_left_is_found(tmp_path, kept, caplog):
    assert read_checkpoint(kept).state == STATE
    assert [record.pts for record in read_records(kept.seen)] == [0, 40]
    assert resumed(tmp_path / "out.mp4", caplog) == {"seen.jsonl", "checkpoint.json", "planned.jsonl"}
    assert caplog.text == ""


@posix
def test_nobody_else_may_look_or_write_into_the_folder(tmp_path, kept):
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    kept.folder.chmod(0o777)
    with open_workspace(tmp_path / "out.mp4", FINGERPRINT, resume=True) as workspace:
        assert stat.S_IMODE(workspace.folder.stat().st_mode) == 0o700


def plant(folder, precious, case):
    if case == "folder":
        shutil.rmtree(folder)
        folder.symlink_to(precious.parent)
    elif case == "file":
        shutil.rmtree(folder)
        folder.write_text("in the way")
    elif case == "hard link":
        (folder / "planned.jsonl").unlink()
        (folder / "planned.jsonl").hardlink_to(precious)
    elif case == "pipe":
        (folder / "planned.jsonl").unlink()
        os.mkfifo(folder / "planned.jsonl")
    else:
        (folder / case).parent.mkdir(exist_ok=True)
        (folder / case).unlink(missing_ok=True)
        (folder / case).symlink_to(precious)


@posix
@pytest.mark.parametrize(
    "case",
    [
        *("folder", "file", "hard link", "pipe", "planned.jsonl", "seen.jsonl", "checkpoint.json.partial", "in_use"),
        *("segment_000000.mp4", "segment_000000/frames/1.png"),
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_links_in_the_work_folder_lead_nowhere(tmp_path, kept, caplog, case, resume):
    (tmp_path / "elsewhere").mkdir()
    precious = tmp_path / "elsewhere" / "precious.txt"
    precious.write_text("precious")
    if "/" in case:
        (kept.folder / "segment_000000").mkdir()
    plant(kept.folder, precious, case)
    with open_workspace(tmp_path / "out.mp4", FINGERPRINT, resume) as workspace:
        assert [path.name for path in workspace.folder.iterdir()] == ["in_use"]
        write_two_records(workspace)
        workspace.planned.write_text("planned")
    assert precious.read_text() == "precious"
    assert list(precious.parent.iterdir()) == [precious]
    assert "no run of yours" in caplog.text or not resume
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


@posix
def test_what_belongs_to_somebody_else_is_not_used(tmp_path, kept, caplog, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)
    with (
        pytest.raises(UnwritableOutput, match="in the way"),
        monkeypatch.context() as patch,
    ):
        patch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)  # it cannot be removed
        resumed(tmp_path / "out.mp4", caplog)
    assert "no run of yours" in caplog.text


def test_the_folder_of_a_second_run_that_was_killed_is_removed_by_the_next(tmp_path):
    out = tmp_path / "out.mp4"
    program = f"""
import os, sys
from pathlib import Path
from utils.inference.video.workspace import open_workspace
with open_workspace(Path(sys.argv[1]), {FINGERPRINT!r}, False):
    os._exit(9)
"""
    with open_workspace(out, FINGERPRINT, resume=False) as first:
        killed = subprocess.run([sys.executable, "-c", program, str(out)], cwd=ROOT, check=False)
        assert killed.returncode == 9
        assert len(list(tmp_path.iterdir())) == 2
        with pytest.raises(BadArgument, match="goes on already"), open_workspace(out, FINGERPRINT, resume=True):
            pass
        with open_workspace(out, FINGERPRINT, resume=False) as second:
            assert second.folder != first.folder
            assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=8),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=6), some, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A workspace with a checkpoint, and the content of its files."""
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    write_two_records(workspace)
    return workspace, workspace.checkpoint.read_bytes(), workspace.seen.read_bytes()


def checkpoint_of(whole, checkpoint=None, seen=None):
    workspace, good_checkpoint, good_seen = whole
    workspace.checkpoint.write_bytes(good_checkpoint if checkpoint is None else checkpoint)
    workspace.seen.write_bytes(good_seen if seen is None else seen)
    return read_checkpoint(workspace)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_lies_in_the_place_of_a_checkpoint_is_none(whole, content):
    assert checkpoint_of(whole, checkpoint=content) is None


@given(st.dictionaries(st.sampled_from(["bytes", "seen", "state", "sha256", "x"]), JSON, min_size=1))
def test_a_checkpoint_with_other_values_is_none(whole, changes):
    fields = json.loads(whole[1])
    altered = {**fields, **changes}
    found = checkpoint_of(whole, checkpoint=json.dumps(altered).encode())
    assert (found is not None) == (json.dumps(altered) == json.dumps(fields))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_records_that_were_altered_or_cut_off_belong_to_no_checkpoint(whole, data):
    seen = bytearray(whole[2])
    place = data.draw(st.integers(0, len(seen) - 1))
    seen[place] ^= 1 << data.draw(st.integers(0, 7))
    assert checkpoint_of(whole, seen=bytes(seen)) is None
    assert checkpoint_of(whole, seen=whole[2][:place]) is None
    assert checkpoint_of(whole, seen=whole[2] + bytes(seen[:place])).state == STATE


def test_records_or_checkpoints_that_are_missing_or_folders_are_none(whole):
    workspace = whole[0]
    for path in (workspace.seen, workspace.checkpoint):
        checkpoint_of(whole)
        path.unlink()
        assert read_checkpoint(workspace) is None
        path.mkdir()
        assert read_checkpoint(workspace) is None
        path.rmdir()


def test_deep_json_is_no_checkpoint(whole):
    assert checkpoint_of(whole, checkpoint=b"[" * 100_000) is None


def test_a_segment_is_there_only_as_it_was_published(tmp_path):
    workspace = Workspace(tmp_path)
    segment, partial = workspace.segment(0), tmp_path / "partial"
    assert not is_published(segment)
    partial.write_bytes(b"frames")
    publish(partial, segment)
    assert is_published(segment)
    for other in (b"framez", b"", b"frames of another video"):
        segment.write_bytes(other)
        assert not is_published(segment)
