"""Broken media end in a result or in a documented error: no crash, no hang, no gigabytes, and nothing that was there is lost."""

from __future__ import annotations

import sys

import pytest
from broken_media import DOCUMENTED, MOST_BYTES, break_media, make_pictures, make_videos, run_alone, run_cases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of children in /proc")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("pictures", "videos")]
    return make_pictures(folders[0]), make_videos(folders[1])


def check(cases, folder):
    verdict = run_cases(cases, folder)
    print(verdict.summary())
    assert not verdict.faults, "\n".join(verdict.faults)
    assert len(verdict.codes) == len(cases)
    assert verdict.peak_bytes < MOST_BYTES
    return verdict


def test_broken_media_end_in_a_result_or_a_documented_error(originals, tmp_path):
    verdict = check(break_media(tmp_path, *originals, 120, seed=0), tmp_path)
    assert {0, 3} <= {*verdict.codes.values()}, "some are still whole enough"


@pytest.mark.slow
def test_thousands_of_broken_media(originals, tmp_path):
    cases = [case for seed in range(1, 6) for case in break_media(tmp_path, *originals, 500, seed)]
    check(cases, tmp_path)
    alone = [run_alone(case, tmp_path) for case in cases[:: len(cases) // 40]]
    print(f"{len(alone)} of them in a process each, peak {max(peak for *_, peak in alone) / 2**20:.0f} MB")
    assert not [fault for _, fault, _ in alone if fault]
    assert {code for code, _, _ in alone} <= DOCUMENTED
    assert max(peak for *_, peak in alone) < MOST_BYTES
