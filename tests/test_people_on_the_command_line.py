"""Who is swapped: the flags about people, through the command line, on a picture of two people and a clip with a cut."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import COLLINS, HOPPER
from media_makers import run_ffmpeg

from utils.errors import BadArgument, UnwritableOutput
from utils.flags import build_parser, photos_of_person
from utils.video_flags import refuse_output_flags

BOTH_WIDTH, LEFT_WIDTH = 1024, 512
FRAMES_EACH = 12


@pytest.fixture(scope="module")
def both(tmp_path_factory, hopper, collins):
    """Collins on the left, Hopper on the right."""
    path = tmp_path_factory.mktemp("both") / "both.png"
    cv2.imwrite(str(path), np.hstack([collins[:500], cv2.resize(hopper[:500], (512, 500))]))
    return path


@pytest.fixture(scope="module")
def two_shots(tmp_path_factory, both):
    """A clip: Collins, cut, Hopper, cut, Collins again."""
    folder = tmp_path_factory.mktemp("shots")
    picture = cv2.imread(str(both))
    left, right = picture[:, :LEFT_WIDTH], picture[:, LEFT_WIDTH:]
    for index in range(3 * FRAMES_EACH):
        shot = right if index // FRAMES_EACH == 1 else left
        cv2.imwrite(str(folder / f"{index:03d}.png"), np.roll(shot, index % FRAMES_EACH, axis=1))
    run_ffmpeg("-framerate", 25, "-i", folder / "%03d.png", "-c:v", "libx264", "-crf", 12, folder / "shots.mp4")
    return folder / "shots.mp4"


def changed_halves(path, both):
    """Whether the left and the right half of the picture differ from the original."""
    different = (cv2.imread(str(path)) != cv2.imread(str(both))).any(2)
    return bool(different[:, :LEFT_WIDTH].any()), bool(different[:, LEFT_WIDTH:].any())


def test_swap_all_replaces_everybody_and_swap_first_one(command_line, tmp_path, both):
    out = tmp_path / "out.png"
    target = ("--target_image", both, "--out_image_name", out)
    finished = command_line(*target, "--swap", "all")
    assert finished.returncode == 0, finished.stderr
    assert "swapped 2 faces in 1 frame" in finished.stderr
    assert changed_halves(out, both) == (True, True)
    finished = command_line(*target)
    assert finished.returncode == 0, finished.stderr
    assert sum(changed_halves(out, both)) == 1


def test_several_sources_go_from_left_to_right(command_line, tmp_path, both):
    """Each gets her own face back, so nearly nothing changes; exchanged, both would become the other."""
    kept, exchanged = tmp_path / "kept.png", tmp_path / "exchanged.png"
    for out, sources in ((kept, (COLLINS, HOPPER)), (exchanged, (HOPPER, COLLINS))):
        finished = command_line(
            "--swap", "all", "--source_paths", *sources, "--target_image", both, "--out_image_name", out
        )
        assert finished.returncode == 0, finished.stderr
    before = cv2.imread(str(both)).astype(int)
    change = {out: np.abs(cv2.imread(str(out)) - before).mean() for out in (kept, exchanged)}
    assert change[kept] < 0.5 * change[exchanged]


def test_more_people_than_sources_is_said(command_line, tmp_path, both, collins):
    three = tmp_path / "three.png"
    grown = cv2.resize(cv2.flip(collins, 1)[:400], (400, 500))
    cv2.imwrite(str(three), np.hstack([cv2.imread(str(both)), cv2.cvtColor(grown, cv2.COLOR_BGR2RGB)]))
    sources = ("--source_paths", HOPPER, COLLINS)
    out = ("--out_image_name", tmp_path / "out.png")
    finished = command_line("--swap", "all", *sources, "--target_image", three, *out)
    assert finished.returncode == 0, finished.stderr
    assert "1 of them keep their faces" in finished.stderr


def test_swap_all_contradicts_chosen_persons(command_line, tmp_path, both):
    finished = command_line("--swap", "all", "--target_image", both, "--target_faces_paths", COLLINS)
    assert finished.returncode == BadArgument.exit_code
    assert "--swap" in finished.stderr
    assert finished.stderr.count("\n") == 2, "the pack's line and one more"


def test_everybody_in_a_video_is_listed_and_can_be_chosen(command_line, tmp_path, two_shots):
    faces = tmp_path / "faces"
    finished = command_line("--list_faces", faces, "--target_video", two_shots)
    assert finished.returncode == 0, finished.stderr
    first, second = (
        f"0-{FRAMES_EACH - 1}, {2 * FRAMES_EACH}-{3 * FRAMES_EACH - 1}",
        f"{FRAMES_EACH}-{2 * FRAMES_EACH - 1}",
    )
    assert [line.partition("frames ")[2] for line in finished.stdout.splitlines()] == [first, second]
    people = json.loads((faces / "people.json").read_text())
    assert [person["photo"] for person in people] == ["person_01.png", "person_02.png"]
    assert [person["faces"] for person in people] == [2 * FRAMES_EACH, FRAMES_EACH]
    part = ("--start", f"{FRAMES_EACH}f", "--end", f"{2 * FRAMES_EACH}f")
    finished = command_line("--list_faces", tmp_path / "part", "--target_video", two_shots, *part)
    assert finished.stdout.endswith(f"frames {second}\n"), "as in the whole video"
    (person,) = json.loads((tmp_path / "part" / "people.json").read_text())
    assert person["frames"] == [[FRAMES_EACH, 2 * FRAMES_EACH - 1]]
    assert FRAMES_EACH <= person["best_frame"] < 2 * FRAMES_EACH
    out = ("--out_video_name", tmp_path / "out.mp4")
    finished = command_line("--target_video", two_shots, "--target_faces_paths", faces / "person_02.png", *out)
    assert finished.returncode == 0, finished.stderr
    assert f"swapped {FRAMES_EACH} faces in {3 * FRAMES_EACH} frames" in finished.stderr


def test_faces_are_not_listed_into_a_folder_that_holds_something(command_line, tmp_path, both):
    (tmp_path / "mine.txt").write_text("mine")
    finished = command_line("--list_faces", tmp_path, "--target_image", both)
    assert finished.returncode == BadArgument.exit_code
    assert "not an empty folder" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_faces_are_not_listed_where_nothing_can_be_looked_at(command_line, tmp_path, both):
    finished = command_line("--list_faces", tmp_path / ("x" * 300), "--target_image", both)
    assert finished.returncode == UnwritableOutput.exit_code
    assert finished.stderr.count("\n") == 2, "the pack's line and one more"


@pytest.mark.parametrize(
    "flag",
    [
        *(["--resume"], ["--out_fps", 25], ["--codec", "h264"], ["--crf", 0], ["--keep_frames", "kept"]),
        *(["--matte", "matte"], ["--out_video_name", "out.mp4"], ["--out_image_name", "out.png"]),
    ],
)
def test_flags_of_an_output_are_refused_where_faces_are_listed(flag):
    with pytest.raises(BadArgument, match=f"{flag[0]} has no use with --list_faces"):
        refuse_output_flags(build_parser("").parse_args(["--list_faces", "faces", *map(str, flag)]))


def test_flags_of_an_output_end_the_listing_of_faces(command_line, tmp_path):
    finished = command_line("--list_faces", tmp_path / "faces", "--resume")
    assert finished.returncode == BadArgument.exit_code
    assert finished.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_joined_names_may_be_longer_than_a_name_can_be():
    names = [f"{letter * 120}.jpg" for letter in "abc"]
    assert photos_of_person("+".join(names)) == tuple(map(Path, names))


def test_photos_of_one_person_are_joined_by_plus_signs(command_line, tmp_path, hopper):
    other = tmp_path / "a+b.png"
    cv2.imwrite(str(other), cv2.flip(hopper, 1))
    assert photos_of_person(str(other)) == (other,), "a file of that very name is one photo"
    out = ("--image_to_image", "--out_image_name", tmp_path / "out.png")
    finished = command_line("--source_paths", f"{HOPPER}+{HOPPER}", *out)
    assert finished.returncode == 0, finished.stderr
    finished = command_line("--source_paths", f"{HOPPER}+{COLLINS}", *out)
    assert finished.returncode == 0, finished.stderr
    assert "hardly show one person" in finished.stderr
    finished = command_line("--source_paths", f"{HOPPER}+", *out)
    assert finished.returncode == BadArgument.exit_code
    finished = command_line("--source_paths", f"{HOPPER}+missing.jpg", *out)
    assert finished.returncode == 3
    assert "missing.jpg" in finished.stderr
