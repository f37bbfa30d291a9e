import os
import signal
import stat
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from utils import files
from utils.errors import UnwritableOutput
from utils.files import finished_file, finished_pair, remove_stale_partials


def test_a_finished_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "new folder" / "result.png"
    for content in (b"one", b"two"):
        with finished_file(path) as temporary:
            assert temporary.suffix == ".png"
            assert temporary.parent == path.parent
            temporary.write_bytes(content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_the_old_file_and_no_half_one(tmp_path, error):
    path = tmp_path / "result.png"
    path.write_bytes(b"old")
    with pytest.raises(error), finished_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_an_output_error(tmp_path):
    (tmp_path / "result.png").mkdir()
    with pytest.raises(UnwritableOutput, match="is a folder"), finished_file(tmp_path / "result.png"):
        pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnwritableOutput, match="cannot write"), finished_file(tmp_path / "file" / "result.png"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path):
    path = tmp_path / "result.png"
    (tmp_path / "plain").touch()
    with finished_file(path) as temporary:
        temporary.write_bytes(b"x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    path.chmod(0o640)
    with finished_file(path) as temporary:
        temporary.write_bytes(b"y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


KILLED_PROGRAM = """
import os, signal, sys
from pathlib import Path
from utils.files import finished_file
with finished_file(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")
def test_what_a_killed_run_left_is_removed_by_the_next_one_and_that_of_others_stays(tmp_path):
    path, other = tmp_path / "result.png", tmp_path / "other.png"
    for output in (path, other):
        command = [sys.executable, "-c", KILLED_PROGRAM, str(output)]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    remove_stale_partials(path)
    with finished_file(path) as at_work:
        at_work.write_bytes(b"first")
        remove_stale_partials(path)
        with finished_file(path) as beside:  # another process that makes the same
            beside.write_bytes(b"second")
        assert path.read_bytes() == b"second"
        assert at_work.read_bytes() == b"first"
    assert path.read_bytes() == b"first"
    (left,) = (one for one in tmp_path.iterdir() if one != path)
    remove_stale_partials(other)
    assert not left.exists()
    remove_stale_partials(tmp_path / "no folder" / "result.png")


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path):
    precious, path = tmp_path / "precious.txt", tmp_path / "result.png"
    precious.write_bytes(b"precious")
    with finished_file(path) as temporary:
        pass
    temporary.symlink_to(precious)
    with finished_file(path) as again:
        again.write_bytes(b"new")
    assert precious.read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_many_who_write_one_file_at_once_all_end_well(tmp_path):
    """Each removes what is stale, and a new file is not locked at once: none may take another's away."""
    path, failures = tmp_path / "result.png", []

    def write():
        try:
            for _ in range(50):
                with finished_file(path) as temporary:
                    temporary.write_bytes(b"whole")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_a_temporary_file_that_was_taken_for_a_stale_one_is_made_anew(tmp_path, monkeypatch):
    path, lock, tries = tmp_path / "result.png", files.try_lock, []

    def late(handle):
        tries.append(handle)
        if len(tries) == 1:
            next(tmp_path.glob(".swap-part-*")).unlink()
        return lock(handle)

    monkeypatch.setattr(files, "try_lock", late)
    with finished_file(path) as temporary:
        temporary.write_bytes(b"whole")
    assert len(tries) == 2
    assert path.read_bytes() == b"whole"


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_what_belongs_together_stays_together_whoever_else_writes_it(tmp_path):
    paths = tmp_path / "clip.mkv", tmp_path / "clip.mkv.c2pa"

    def write(number):
        for _ in range(40):
            with finished_pair(*paths) as pair:
                for temporary in pair:
                    temporary.write_text(str(number))

    threads = [threading.Thread(target=write, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths[0].read_text() == paths[1].read_text()
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")
def test_what_a_killed_run_left_of_a_pair_is_removed_whole(tmp_path):
    paths = tmp_path / "clip.mkv", tmp_path / "clip.mkv.c2pa"
    program = KILLED_PROGRAM.replace(
        "finished_file(Path(sys.argv[1])) as temporary", "finished_pair(*map(Path, sys.argv[1:])) as pair"
    )
    program = program.replace("import finished_file", "import finished_pair").replace(
        "temporary.write", "pair[1].write"
    )
    command = [sys.executable, "-c", program, *map(str, paths)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".swap-part-*"))) == 2
    remove_stale_partials(paths[0])
    with finished_pair(*paths):
        pass
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_of_what_belongs_together_both_stay_as_they_were_when_it_fails(tmp_path):
    paths = tmp_path / "clip.mkv", tmp_path / "clip.mkv.c2pa"
    for path in paths:
        path.write_text("older")
    with pytest.raises(ZeroDivisionError), finished_pair(*paths) as pair:
        for temporary in pair:
            temporary.write_text("half")
        _ = 1 / 0
    assert {path.read_text() for path in paths} == {"older"}
    assert sorted(tmp_path.iterdir()) == sorted(paths)
