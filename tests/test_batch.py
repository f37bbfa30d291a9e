"""Many swaps: what fails does not stop the rest, what is done is not done twice, and a killed run goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT
from hypothesis import example, given
from hypothesis import strategies as st

from utils.batch.flags import Shard
from utils.batch.job_files import JobFlagParser, parts_of, read_jobs
from utils.batch.patterns import jobs_of_patterns
from utils.batch.places import check_places
from utils.batch.results import DONE, FAILED, Outcome, Results
from utils.batch.worker import Worker
from utils.errors import BadArgument, SwapError, UnreadableInput, UnwritableOutput
from utils.evaluate.unsigned import unsigned
from utils.flags import build_parser
from utils.inference.face_swapper import FaceSwapper
from utils.progress import no_progress

SOME_FAILED, BAD_ARGUMENT, UNREADABLE = 10, 2, 3
GOOD, BROKEN = 6, 2


@pytest.fixture
def photos(tmp_path, collins):
    """A folder of good and broken photos."""
    folder = tmp_path / "in"
    folder.mkdir()
    small = cv2.resize(collins, (256, 256), interpolation=cv2.INTER_AREA)
    for number in range(GOOD):
        cv2.imwrite(str(folder / f"photo {number}.png"), small + number)
    (folder / "broken 0.png").write_bytes(COLLINS.read_bytes()[:2000])
    (folder / "broken 1.png").write_text("no picture", encoding="utf-8")
    return folder


def batch(folder, *more):
    return (
        f"--source_paths={HOPPER}",
        f"--target_image={folder}/*.png",
        f"--out_dir={folder.parent / 'out'}",
        "--quiet",
        *more,
    )


def results_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_status(results):
    return {status: sum(one["status"] == status for one in results) for status in ("done", "skipped", "failed")}


def test_broken_photos_are_reported_and_the_others_done_and_a_second_run_does_only_what_is_missing(
    command_line, photos
):
    out = photos.parent / "out"
    first = command_line(*batch(photos))
    assert first.returncode == SOME_FAILED, first.stderr
    made = sorted(f"{out}/grace_hopper_photo {number}.png" for number in range(GOOD))
    assert sorted(first.stdout.splitlines()) == made
    assert sorted(path.name for path in out.iterdir()) == sorted(["results.jsonl", *(Path(one).name for one in made)])
    results = results_of(out / "results.jsonl")
    assert by_status(results) == {"done": GOOD, "skipped": 0, "failed": BROKEN}
    for one in results:
        if one["status"] == "failed":
            assert one["exit_code"] == UNREADABLE
            assert Path(one["target"]).name in one["message"]
            assert one["message"] in first.stderr
        else:
            assert one["faces"] == one["frames"] == 1
            assert one["seconds"] > 0
    states = {path: Path(path).stat().st_mtime_ns for path in made}
    Path(made[0]).unlink()
    os.utime(photos / "photo 3.png")
    again = command_line(*batch(photos, "--json"))
    assert again.returncode == SOME_FAILED
    redone = sorted(json.loads(line)["output"] for line in again.stdout.splitlines())
    assert redone == [made[0], made[3]]
    assert {path for path in made if Path(path).stat().st_mtime_ns == states[path]} == set(made) - set(redone)
    assert by_status(results_of(out / "results.jsonl")[len(results) :]) == {
        "done": 2,
        "skipped": GOOD - 2,
        "failed": BROKEN,
    }


def test_a_result_made_with_other_settings_is_made_again_and_one_of_overwrite_too(command_line, photos):
    (photos / "broken 0.png").unlink()
    (photos / "broken 1.png").unlink()
    for number in range(2, GOOD):
        (photos / f"photo {number}.png").unlink()
    assert command_line(*batch(photos)).returncode == 0
    assert command_line(*batch(photos)).stdout == ""
    assert len(command_line(*batch(photos, "--strength=0.5")).stdout.splitlines()) == 2
    assert len(command_line(*batch(photos, "--strength=0.5", "--overwrite")).stdout.splitlines()) == 2


def test_a_batch_gives_the_pixels_of_single_swaps(command_line, photos):
    command_line(*batch(photos, "--workers=2"))
    alone = photos.parent / "alone.png"
    target = photos / "photo 4.png"
    assert (
        command_line(f"--source_paths={HOPPER}", f"--target_image={target}", f"--out_image_name={alone}").returncode
        == 0
    )
    assert unsigned(photos.parent / "out" / "grace_hopper_photo 4.png") == unsigned(alone)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_whole_files_only_and_the_next_does_the_rest(command_line, photos, number):
    out = photos.parent / "out"
    command = [sys.executable, str(ROOT / "inference.py"), *batch(photos, "--workers=2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline(), "the first is done"
        time.sleep(random.Random(7).uniform(0, 0.2))
        running.send_signal(number)
    for path in out.glob("*.png"):
        if not path.name.startswith("."):
            assert cv2.imread(str(path)).shape == (256, 256, 3)
    before = {path: path.stat().st_mtime_ns for path in out.glob("grace*.png")}
    assert len(before) >= 1
    assert command_line(*batch(photos)).returncode == SOME_FAILED
    assert len([*out.iterdir()]) == GOOD + 1, "and nothing half is left"
    assert all(path.stat().st_mtime_ns == state for path, state in before.items()), "nothing is done twice"


def test_two_batches_in_one_folder_share_the_work(command_line, photos):
    finished = []
    threads = [Thread(target=lambda: finished.append(command_line(*batch(photos, "--json")))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.returncode for one in finished] == [SOME_FAILED] * 2
    made = [json.loads(line)["output"] for one in finished for line in one.stdout.splitlines()]
    assert len(made) == len(set(made)) == GOOD
    lines = results_of(photos.parent / "out" / "results.jsonl")
    assert by_status(lines) == {"done": GOOD, "skipped": GOOD, "failed": 2 * BROKEN}
    assert sorted(path.suffix for path in (photos.parent / "out").iterdir()) == [".jsonl", *[".png"] * GOOD]


def test_job_files_say_flags_and_sources_are_shared(command_line, photos, tmp_path):
    rows = tmp_path / "jobs.csv"
    rows.write_text(
        f"target_image,out_image_name,source_paths,strength\n"
        f'"{photos}/photo 0.png","{tmp_path}/a, b.png",,\n'
        f"{photos}/photo 1.png,{tmp_path}/c.jpg,{HOPPER},0\n"
        f"{photos}/broken 1.png,{tmp_path}/d.png,,\n",
        encoding="utf-8-sig",
    )
    finished = command_line("--jobs", rows, f"--source_paths={HOPPER}", "--quiet")
    assert finished.returncode == SOME_FAILED
    assert {path.name for path in tmp_path.glob("*.[jp][pn]g")} == {"a, b.png", "c.jpg"}
    failed = [one for one in results_of(tmp_path / "results.jsonl") if one["status"] == "failed"]
    assert [one["job"] for one in failed] == [4], "its line"
    jobs = [{"target_image": str(photos / f"photo {n}.png"), "out_image_name": f"{tmp_path}/{n}.webp"} for n in (2, 3)]
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    finished = command_line(
        "--jobs", "-", f"--source_paths={HOPPER}", f"--results={tmp_path / 'other.jsonl'}", input=lines
    )
    assert finished.returncode == 0, finished.stderr
    assert sorted(finished.stdout.splitlines()) == [f"{tmp_path}/2.webp", f"{tmp_path}/3.webp"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no job"),
        ("target_image\n", "holds no job"),
        ("target_image,colour\na.png,red\n", "line 1: unknown column 'colour'"),
        ("target_image,pack\na.png,ghost\n", "line 1: unknown column 'pack'"),
        ("target_image,target_image\na,b\n", "line 1: a column is there twice"),
        ("target_image,out_image_name\na.png,b.png,c.png\n", "line 2: 3 cells for 2 columns"),
        ('target_image,out_image_name\n"a.png,b.png\n', "line 2: not CSV"),
        (
            "target_image,out_image_name,strength\na.png,b.png,2\n",
            "line 2: argument --strength: '2' is not a number from 0 to 1",
        ),
        ("target_image,out_image_name\na.png,b.png\n\nc.png,b.png\n", "jobs 2 and 4 both write 'b.png'"),
        ("target_image,out_image_name\na.png,b.bmp\n", "line 2: cannot write a picture named 'b.bmp'"),
        ("target_image,out_image_name\n-,b.png\n", "line 2: a job of many cannot use stdin"),
        ("target_image,out_image_name\na.png,\n", "line 2: no output"),
        ("out_image_name\nb.png\n", "line 2: no target"),
        ('{"target_image": "a.png", "out_image_name": "b.png"}\n{"target_image": }\n', "line 2: not JSON"),
        ('{"target_image": "a.png", "colour": 1}', "line 1: unknown column 'colour'"),
        ('{"target_image": {"a": 1}, "out_image_name": "b.png"}', "line 1: target_image"),
        ('{"target_image": "a\\u0000.png", "out_image_name": "b.png"}', "zero byte"),
        (
            '{"target_image": "a.png", "out_image_name": "\\ud800.png"}',
            "line 1: out_image_name: '\\ud800.png' holds half",
        ),
        ('{"target_image": "a.png", "out_image_name": ["b.png", "c.png"]}', "out_image_name takes one value"),
        ('{"target_video": "a.mp4", "out_video_name": "b.mp4", "resume": "perhaps"}', "resume: 'perhaps'"),
        ("{" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_job_file_that_cannot_be_understood_is_refused_with_its_line_before_anything_is_done(tmp_path, text, words):
    path = tmp_path / "jobs"
    path.write_text(text, encoding="utf-8")
    parser = build_parser("test", JobFlagParser)
    with pytest.raises(BadArgument) as refused:
        check_places(read_jobs(path, parser, parser.parse_args([])), tmp_path / "results.jsonl", path)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("jobs", "results", "words"),
    [
        ([("a.png", "b.png"), ("b.png", "c.png")], "r.jsonl", "job 1 writes 'b.png', which job 2 reads"),
        ([("b.png", "c.png"), ("a.png", "link/b.png")], "r.jsonl", "job 2 writes 'link/b.png', which job 1 reads"),
        ([("a.png", "c.png"), ("a.png", "link/c.png")], "r.jsonl", "jobs 1 and 2 both write"),
        ([("a.png", "c.png")], "link/a.png", "is also an input or an output; choose another file with --results"),
        ([("a.png", "c.png")], "c.png", "choose another file with --results"),
        ([("a.png", "c.png")], "me.png", "choose another file with --results"),
        ([("a.png", "c.png")], "jobs.jsonl", "choose another file with --results"),
    ],
)
def test_jobs_that_would_write_what_is_read_are_refused(tmp_path, monkeypatch, jobs, results, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    lines = [json.dumps({"target_image": target, "out_image_name": out}) for target, out in jobs]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    parser = build_parser("test", JobFlagParser)
    common = parser.parse_args(["--source_paths=me.png"])
    with pytest.raises(BadArgument) as refused:
        check_places(read_jobs(Path("jobs.jsonl"), parser, common), Path(results), Path("jobs.jsonl"))
    assert words in str(refused.value)


def test_a_batch_goes_on_when_nobody_reads_what_it_tells(command_line, photos):
    reading, writing = os.pipe()
    os.close(reading)
    finished = command_line(*batch(photos), capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert finished.returncode == SOME_FAILED
    assert finished.stderr.count("error:") == BROKEN + 1 and "Exception" not in finished.stderr
    assert len(list((photos.parent / "out").glob("*.png"))) == GOOD


@pytest.mark.parametrize("content", [b"what somebody wrote\n", COLLINS.read_bytes()[:2000], b'{"output": 3}\n[]\n'])
def test_results_are_not_added_to_what_is_something_else(tmp_path, content):
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    if content.startswith(b'{"output"'):  # a line of ours that somebody spoilt
        Results(path).close()
        return
    with pytest.raises(UnwritableOutput, match="something else than results"):
        Results(path)
    assert path.read_bytes() == content


def test_a_key_is_not_written_over(command_line, tmp_path):
    key = tmp_path / "key.png"
    key.write_bytes(b"a key")
    flags = (
        "--c2pa_key",
        key,
        "--c2pa_cert",
        tmp_path / "cert.pem",
        "--target_image",
        COLLINS,
        "--out_image_name",
        key,
    )
    refused = command_line(*flags)
    assert (refused.returncode, key.read_bytes()) == (BAD_ARGUMENT, b"a key")
    assert "is also an input" in refused.stderr


NAMES = st.sampled_from(["target_image", "out_image_name", "source_paths", "strength", "resume", "start", "crf", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=8),
    lambda some: st.lists(some, max_size=3),
)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b"\xff")
@example(b"[1]")
@example(b"{}\n[]")
def test_any_bytes_are_jobs_or_refused_in_one_line(tmp_path_factory, encoded):
    read_or_refuse(tmp_path_factory, encoded)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=3))
def test_any_json_lines_are_jobs_or_refused_in_one_line(tmp_path_factory, records):
    read_or_refuse(tmp_path_factory, "\n".join(map(json.dumps, records)).encode())


def read_or_refuse(tmp_path_factory, encoded):
    path = tmp_path_factory.getbasetemp() / "any_jobs"
    path.write_bytes(encoded)
    parser = build_parser("test", JobFlagParser)
    try:
        jobs = read_jobs(path, parser, parser.parse_args([]))
    except SwapError as refused:
        assert refused.exit_code in (BAD_ARGUMENT, UNREADABLE)
        assert "\n" not in str(refused)
    else:
        assert all(job.args.target and job.args.out for job in jobs)


def test_a_sequence_of_pictures_that_is_there_is_not_made_again(command_line, tmp_path):
    jobs = tmp_path / "jobs.jsonl"
    job = {"target_video": str(COLLINS_CLIP), "out_video_name": f"{tmp_path}/shot/%03d.png", "end": "3f"}
    jobs.write_text(json.dumps(job), encoding="utf-8")
    assert command_line("--jobs", jobs).returncode == 0
    assert sorted(path.name for path in (tmp_path / "shot").iterdir()) == ["001.png", "002.png", "003.png"]
    again = command_line("--jobs", jobs)
    assert (again.returncode, again.stdout) == (0, ""), again.stderr


def test_names_of_all_kinds_reach_the_flags(tmp_path):
    path = tmp_path / "jobs.jsonl"
    names = ["-a.png", "a;b 'c\".png", "b\nc.png"]
    line = {"source_paths": names, "target_faces_paths": names, "target_image": "-t.png", "out_image_name": "-o.png"}
    path.write_text(json.dumps(line | {"min_face": 20, "strength": None, "image_to_image": True}), encoding="utf-8")
    parser = build_parser("test", JobFlagParser)
    (job,) = read_jobs(path, parser, parser.parse_args(["--strength=0.5"]))
    assert [str(photos[0]) for photos in job.args.source_paths] == names
    assert (str(job.args.target), str(job.args.out)) == ("-t.png", "-o.png")
    assert (job.args.min_face, job.args.strength) == (20, 0.5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--out_dir=o",), "--out_dir needs --target_image or --target_video"),
        (("--out_dir=o", "--target_image=*.png", "--out_pattern={colour}"), "--out_pattern"),
        (("--out_dir=o", "--target_image=*.png", "--out_pattern=../{target}"), "leads out of --out_dir"),
        (("--out_dir=o", "--target_image=*.png", "--out_pattern=same"), "would be"),
        (("--out_dir=o", "--target_image=*.png", "--out_image_name=a.png"), "leave --out_image_name"),
        (("--out_dir=o", "--jobs=j.csv"), "give one"),
        (("--out_pattern={target}",), "--out_pattern is for many swaps"),
        (("--engine=ray",), "--engine is for many swaps"),
        (("--shard=3/2",), "is not a part"),
    ],
)
def test_flags_that_do_not_fit_together(command_line, photos, flags, words):
    finished = command_line(*(flag.replace("*.png", f"{photos}/*.png") for flag in flags))
    assert finished.returncode == BAD_ARGUMENT
    assert words in finished.stderr.replace("both write", "would be")
    assert "Traceback" not in finished.stderr


def test_shards_part_the_jobs():
    jobs = list(range(11))
    parts = [parts_of(jobs, Shard(number, 4)) for number in (1, 2, 3, 4)]
    assert sorted(job for part in parts for job in part) == jobs
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_torn_line_of_results_is_passed_over_and_closed(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_bytes(Outcome("a.png", DONE, settings="s").to_json().encode() + b'\n{"output": "b.pn')
    results = Results(path)
    assert results.last_done(tmp_path / "b.png") is None
    results.add(Outcome("c.png", DONE))
    results.close()
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["output"] == "c.png"


@pytest.mark.parametrize("finished", ["9" * 401, "-1", "NaN", '"today"', "1e999"])
def test_an_outcome_of_no_time_that_can_be_is_passed_over(tmp_path, finished):
    path = tmp_path / "results.jsonl"
    path.write_text(f'{{"output": "a.png", "status": "done", "finished": {finished}}}\n', encoding="utf-8")
    assert Results(path).last_done(Path("a.png")) is None


def test_results_too_large_to_be_read_are_refused_and_long_lines_are_passed_over(tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    path.touch()
    os.truncate(path, 1500 << 20)
    with pytest.raises(UnwritableOutput, match=r"results\.jsonl' is larger than 256 MB.*--results"):
        Results(path)
    monkeypatch.setattr("utils.batch.results.MOST_LINE_BYTES", 1000)
    path.write_text("x" * 5000 + "\n" + Outcome("a.png", DONE).to_json() + "\n", encoding="utf-8")
    assert Results(path).last_done(Path("a.png")) is not None


def test_large_job_files_are_refused_in_one_line_and_no_line_is_read_behind_a_bad_one(tmp_path, monkeypatch):
    path, parser = tmp_path / "jobs.jsonl", build_parser("test", JobFlagParser)
    common = parser.parse_args([f"--source_paths={HOPPER}"])
    path.write_bytes(b"{}\n" * 5_000_000)
    tracemalloc.start()
    with pytest.raises(BadArgument, match="line 1: no target"):
        read_jobs(path, parser, common)
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    os.truncate(path, 150 << 20)
    with pytest.raises(UnreadableInput, match=r"jobs\.jsonl' is larger than 32 MB; split it"):
        read_jobs(path, parser, common)
    monkeypatch.setattr("utils.batch.job_files.MOST_JOBS", 2)
    path.write_text("".join(f'{{"target_image": "a", "out_image_name": "{n}.png"}}\n' for n in range(4)))
    with pytest.raises(BadArgument, match="line 3: more than 2 jobs; split the file"):
        read_jobs(path, parser, common)


def test_a_photo_goes_through_pipes(command_line, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "inference.py"),
        f"--source_paths={HOPPER}",
        "--target_image=-",
        "--out_image_name=-",
    ]
    piped = subprocess.run(command, input=COLLINS.read_bytes(), capture_output=True, check=True)
    out = tmp_path / "out.png"
    finished = command_line(
        f"--source_paths={HOPPER}", f"--target_image={COLLINS}", f"--out_image_name={out}", "--json"
    )
    (tmp_path / "piped.png").write_bytes(piped.stdout)
    assert unsigned(out) == unsigned(tmp_path / "piped.png")
    told = json.loads(finished.stdout)
    assert (told["output"], told["status"], told["faces"]) == (str(out), "done", 1)
    broken = subprocess.run(command, input=b"nothing", capture_output=True, check=False)
    assert (broken.returncode, broken.stdout) == (UNREADABLE, b"")
    assert command_line("--target_image=-", "--out_image_name=-", "--json").returncode == BAD_ARGUMENT


def test_completion_knows_the_flags(command_line):
    finished = command_line("--print_completion", "bash")
    assert finished.returncode == 0
    assert "--out_pattern" in finished.stdout
    if shutil.which("bash"):
        assert subprocess.run(["bash", "-n"], input=finished.stdout, text=True, check=False).returncode == 0


def test_several_threads_and_swappers_give_the_same_pixels(pack, swapper, hopper, collins):
    source = swapper.identify(hopper, "hopper")
    wanted, _ = swapper.swap_image(collins, [source])
    other = FaceSwapper(pack, strength=0.5)
    with ThreadPoolExecutor(3) as pool:
        same = [pool.submit(swapper.swap_image, collins, [swapper.identify(hopper, "hopper")]) for _ in range(4)]
        half = pool.submit(other.swap_image, collins, [source])
    assert all(np.array_equal(one.result()[0], wanted) for one in same)
    assert not np.array_equal(half.result()[0], wanted)


def test_a_defect_fails_one_job_and_an_interruption_in_whatever_shape_ends_the_batch(monkeypatch, pack, photos):
    parser = build_parser("test")
    job = jobs_of_patterns(parser.parse_args(batch(photos)))[0]
    worker = Worker(pack, no_progress)

    def defect(args):
        raise ValueError("a defect")

    def interrupted(args):
        raise RuntimeError("a library's words for it") from KeyboardInterrupt()

    monkeypatch.setattr(worker, "_swap", defect)
    outcome = worker.do(job, None)
    assert outcome.status == FAILED
    assert "internal error, please report it: ValueError: a defect" in outcome.message
    monkeypatch.setattr(worker, "_swap", interrupted)
    with pytest.raises(RuntimeError, match="a library's words"):
        worker.do(job, None)
    assert not Path(job.args.out).exists()
