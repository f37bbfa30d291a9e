import os
import stat

import pytest

from utils.errors import UnwritableOutput
from utils.files import finished_file


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
