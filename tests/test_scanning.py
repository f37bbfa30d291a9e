"""--verify looks through files of any size, and through what only seems to be one, in little memory and so that a signal ends it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from media_makers import PEAK_KB

from utils.provenance import scanning, verify
from utils.provenance.marks import xmp_source_types
from utils.provenance.scanning import places
from utils.provenance.verify import UNMARKED
from utils.signals import _must_not_be_disturbed

MARK = b':DigitalSourceType="compositeSynthetic"'


@given(st.lists(st.sampled_from([b"ab", b"a", b"bb", b"c"])).map(b"".join), st.integers(4, 20), st.integers(2, 4))
def test_what_is_looked_for_is_found_once_wherever_blocks_end(content, block_bytes, longest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "BLOCK_BYTES", block_bytes)
        found = [part[place : place + longest] for part, place in places(b"ab", io.BytesIO(content), longest)]
    assert found == [content[match.start() : match.start() + longest] for match in re.finditer(b"ab", content)]


@pytest.mark.parametrize("before", range(-len(MARK), 2, 5))
def test_a_mark_across_two_blocks_is_read_whole(tmp_path, before):
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(2 * scanning.BLOCK_BYTES + before) + MARK + bytes(scanning.BLOCK_BYTES))
    assert xmp_source_types(path) == {"compositeSynthetic"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads its own memory in /proc")
def test_a_file_of_a_gigabyte_takes_no_memory(tmp_path):
    path = tmp_path / "sparse.mp4"
    path.touch()
    os.truncate(path, 1 << 30)
    program = f"import sys; from utils.provenance.marks import *; xmp_source_types(Path(sys.argv[1])); print({PEAK_KB})"
    command = [sys.executable, "-c", program, str(path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    assert int(finished.stdout) << 10 < 100 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_files_that_say_they_are_empty_are_not_read(tmp_path):
    assert verify.verify(Path("/proc/self/pagemap")).exit_code == UNMARKED
    (tmp_path / "clip.mkv").write_bytes(b"no video")
    (tmp_path / "clip.mkv.c2pa").symlink_to("/proc/self/pagemap")
    assert verify.verify(tmp_path / "clip.mkv").exit_code == UNMARKED


def test_a_signal_ends_the_search_for_a_manifest(tmp_path, monkeypatch):
    disturbed = []

    def watched(*_):
        disturbed.append(not _must_not_be_disturbed(sys._getframe()))
        return iter(())

    monkeypatch.setattr(verify, "places", watched)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    assert verify.verify(tmp_path / "broken.png").exit_code == UNMARKED
    assert disturbed == [True]
