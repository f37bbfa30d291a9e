"""Broken media made from the examples, the same ones every time, and a run of the tool over many of them. Not a test itself."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from conftest import COLLINS, COLLINS_CLIP, HOPPER, ROOT
from media_makers import run_ffmpeg
from PIL import Image as PillowImage

OLD = b"what an earlier run wrote"
DOCUMENTED = {0, 3, 4}
MOST_SECONDS, MOST_BYTES = 20, 1 << 30
HEAD_BYTES = 400
SIDE_PX = 240

Damage = Callable[[bytearray, random.Random], bytes | bytearray]


@dataclass(frozen=True)
class Case:
    """One broken file: whether it is given as a video, and how it came about."""

    path: Path
    moving: bool
    made: str


@dataclass
class Verdict:
    """What became of many cases: exit codes by case, what was wrong, and the costliest."""

    codes: dict[Path, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0

    def summary(self) -> str:
        """One line of totals."""
        counts = {code: sum(one == code for one in self.codes.values()) for code in sorted({*self.codes.values()})}
        crashes = sum("exit code" in fault or "signal" in fault for fault in self.faults)
        hangs = sum(bool(re.search(r": \d+ s$", fault)) for fault in self.faults)
        damaged = sum("earlier run" in fault for fault in self.faults)
        return (
            f"{len(self.codes)} cases, exit codes {counts}, {crashes} crashes, {hangs} hangs, {damaged} earlier outputs damaged; "
            f"slowest {self.slowest_s:.1f} s, peak {self.peak_bytes / 2**20:.0f} MB"
        )


def make_pictures(folder: Path) -> list[Path]:
    """The example photo, small, in every format."""
    face = cv2.resize(cv2.imread(str(COLLINS))[:400, 56:456], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    picture = PillowImage.fromarray(face[:, :, ::-1])
    exif = PillowImage.Exif()
    exif[0x0112], exif[0x010F] = 1, "maker"
    named = folder / "photo"
    picture.save(named.with_suffix(".png"), exif=exif, icc_profile=bytes(200))
    cv2.imwrite(str(folder / "deep.png"), face.astype(np.uint16) * 257)
    picture.save(named.with_suffix(".jpg"), quality=90, exif=exif)
    picture.save(folder / "progressive.jpg", quality=90, progressive=True)
    picture.save(named.with_suffix(".webp"), quality=90)
    picture.save(folder / "lossless.webp", lossless=True, exif=exif)
    picture.save(named.with_suffix(".tif"))
    picture.save(folder / "packed.tif", compression="tiff_adobe_deflate")
    picture.save(folder / "lzw.tif", compression="tiff_lzw")
    cv2.imwrite(str(folder / "deep.tif"), face.astype(np.uint16) * 257)
    picture.save(named.with_suffix(".bmp"))
    picture.quantize(64).save(named.with_suffix(".gif"))
    picture.save(named.with_suffix(".avif"), quality=80)
    picture.save(named.with_suffix(".jp2"), quality_mode="rates", quality_layers=[20])
    picture.save(named.with_suffix(".ppm"))
    return sorted(folder.iterdir())


def make_videos(folder: Path, frames: int = 4) -> list[Path]:
    """The beginning of the example clip, small, in every container."""
    clip, words = folder / "h264.mp4", folder / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:00,100\nwords\n", encoding="utf-8")
    scale = ("-vf", f"crop=560:560:400:0,scale={SIDE_PX}:{SIDE_PX}", "-frames:v", frames)
    streams = ("-map", "0:v", "-map", "0:a?", "-map", "1")
    sound = ("-c:a", "aac", "-t", "0.2")
    made = ("-i", COLLINS_CLIP, "-i", words, *streams, *scale, *sound)
    run_ffmpeg(*made, "-c:v", "libx264", "-c:s", "mov_text", clip)
    run_ffmpeg(*made, "-c:v", "libx265", "-x265-params", "log-level=none", "-c:s", "mov_text", folder / "hevc.mov")
    run_ffmpeg("-i", clip, "-map", "0", "-c", "copy", "-c:s", "srt", folder / "h264.mkv")
    pictures_only = ("-i", COLLINS_CLIP, "-an", *scale)
    run_ffmpeg(*pictures_only, "-c:v", "libvpx-vp9", "-deadline", "realtime", folder / "vp9.webm")
    run_ffmpeg(*pictures_only, "-c:v", "mpeg4", folder / "mpeg4.avi")
    run_ffmpeg("-i", clip, "-map", "0:v", "-map", "0:a", "-c", "copy", folder / "h264.ts")
    run_ffmpeg(*pictures_only, "-c:v", "flv", folder / "sorenson.flv")
    run_ffmpeg(*pictures_only, "-c:v", "libtheora", folder / "theora.ogg")
    fragments = ("-movflags", "frag_every_frame+empty_moov")
    run_ffmpeg("-i", clip, "-map", "0:v", "-c", "copy", *fragments, folder / "fragments.mp4")
    run_ffmpeg(*pictures_only, folder / "moving.gif")
    run_ffmpeg(*pictures_only, "-f", "apng", folder / "moving.png")
    run_ffmpeg(*pictures_only, "-c:v", "libwebp_anim", "-f", "webp", folder / "moving.webp")
    words.unlink()
    return sorted(folder.iterdir())


def flip_bits(content: bytearray, chance: random.Random) -> bytes | bytearray:
    for _ in range(chance.choice([1, 3, 20, 200])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def change_head(content: bytearray, chance: random.Random) -> bytes | bytearray:
    for _ in range(chance.choice([1, 2, 6])):
        content[chance.randrange(min(HEAD_BYTES, len(content)))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
    return content


def change_a_length(content: bytearray, chance: random.Random) -> bytes | bytearray:
    """Four bytes before a chunk's or box's name, or anywhere where the file has no such names."""
    names = [match.start() for match in re.finditer(rb"[A-Za-z]{4}", bytes(content)) if match.start() >= 4]
    places = [place - 4 for place in names[:200]] + [place + 4 for place in names[:200] if place + 8 < len(content)]
    place = chance.choice(places) if places else chance.randrange(max(1, len(content) - 4))
    length = chance.choice([0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    content[place : place + 4] = length.to_bytes(4, chance.choice(["big", "little"]))
    return content


def cut_off(content: bytearray, chance: random.Random) -> bytes | bytearray:
    return content[: chance.choice([chance.randrange(64), chance.randrange(len(content)), len(content) - 1])]


def move_blocks(content: bytearray, chance: random.Random) -> bytes | bytearray:
    size = chance.randrange(1, len(content) // 2)
    one, other = (chance.randrange(len(content) - size) for _ in range(2))
    block = content[one : one + size]
    what = chance.choice(["double", "remove", "zero", "swap"])
    if what == "double":
        content[other:other] = block
    elif what == "remove":
        del content[one : one + size]
    elif what == "zero":
        content[one : one + size] = bytes(size)
    else:
        content[other : other + size] = block
    return content


def append_itself(content: bytearray, chance: random.Random) -> bytes | bytearray:
    return content + content[chance.choice([0, 0, 16]) :]


DAMAGES: tuple[Damage, ...] = (
    *(flip_bits, flip_bits, change_head, change_head, change_a_length, change_a_length),
    *(cut_off, move_blocks, append_itself),
)


def break_media(folder: Path, pictures: Sequence[Path], videos: Sequence[Path], count: int, seed: int) -> list[Case]:
    """`count` broken files, one in three a video, by turns of every kind of file; one in twelve has another's extension."""
    chance = random.Random(seed)
    cases = []
    for number in range(count):
        moving = number % 3 == 2
        originals = videos if moving else pictures
        original = originals[(number // 3 if moving else number - number // 3) % len(originals)]
        damage = chance.choice(DAMAGES)
        content = damage(bytearray(original.read_bytes()), chance)
        extension = chance.choice([*pictures, *videos]).suffix if chance.random() < 1 / 12 else original.suffix
        path = folder / f"{seed}_{number:04d}_{damage.__name__}_{original.stem}{extension}"
        path.write_bytes(content)
        cases.append(Case(path, moving, f"{damage.__name__} of {original.name}"))
    return cases


def run_cases(cases: Sequence[Case], folder: Path) -> Verdict:
    """Swap all in one process, and those again by themselves that it did not come to because it died or hung."""
    verdict = Verdict()
    waiting = list(cases)
    while waiting:
        ended = _run_batch(waiting, folder, verdict)
        waiting = [case for case in waiting if case.path not in verdict.codes]
        if ended and waiting:  # the first that is missing was being worked on, or one of its neighbours
            suspects, waiting = waiting[:4], waiting[4:]
            for case in suspects:
                alone = _run_batch([case], folder, verdict)
                if alone:
                    verdict.faults.append(f"{case.path.name}: {alone}")
                    verdict.codes.setdefault(case.path, -1)
    return verdict


def run_alone(case: Case, folder: Path) -> tuple[int, str, int]:
    """Swap one by itself: exit code, what was wrong with it, and its peak memory in bytes."""
    out = folder / f"alone_{case.path.stem}{'.mp4' if case.moving else '.png'}"
    out.write_bytes(OLD)
    flags = [f"--{name}={value}" for name, value in _job(case, out).items()]
    command = [sys.executable, str(ROOT / "inference.py"), f"--source_paths={HOPPER}", "--quiet", *flags]
    code, fault, peak_bytes = run_watched(command, out)
    if code and out.read_bytes() != OLD:
        fault = fault or "what an earlier run wrote is gone"
    return code, fault, peak_bytes


def _run_batch(cases: Sequence[Case], folder: Path, verdict: Verdict) -> str:
    """Run the tool on a job file; add to the verdict; what was wrong with the process as a whole."""
    jobs, results = folder / "jobs.jsonl", folder / "results.jsonl"
    results.unlink(missing_ok=True)
    outs = {case: folder / f"out_{case.path.stem}{'.mp4' if case.moving else '.png'}" for case in cases}
    for out in outs.values():
        out.write_bytes(OLD)
    jobs.write_text("".join(f"{json.dumps(_job(case, out))}\n" for case, out in outs.items()), encoding="utf-8")
    command = [sys.executable, str(ROOT / "inference.py"), "--jobs", str(jobs), "--overwrite", "--quiet"]
    _, ended, peak_bytes = run_watched([*command, f"--source_paths={HOPPER}", f"--results={results}"], results)
    verdict.peak_bytes = max(verdict.peak_bytes, peak_bytes)
    if peak_bytes > MOST_BYTES and len(cases) == 1:
        ended = ended or f"{peak_bytes >> 20} MB of memory"
    by_number = dict(enumerate(outs.items(), 1))
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else ():
        outcome = json.loads(line)
        case, out = by_number[outcome["job"]]
        verdict.codes[case.path] = outcome["exit_code"]
        verdict.slowest_s = max(verdict.slowest_s, outcome["seconds"])
        verdict.faults += (f"{case.path.name}: {fault}" for fault in _faults(outcome, out))
    for out in outs.values():
        out.unlink(missing_ok=True)
    return ended


def _job(case: Case, out: Path) -> dict[str, str]:
    kinds = ("target_video", "out_video_name") if case.moving else ("target_image", "out_image_name")
    return dict(zip(kinds, (str(case.path), str(out)), strict=True))


def _faults(outcome: dict[str, object], out: Path) -> Iterator[str]:
    code, message, seconds = outcome["exit_code"], str(outcome["message"]), float(str(outcome["seconds"]))
    if code not in DOCUMENTED:
        yield f"exit code {code}: {message}"
    if "\n" in message:
        yield f"a message of several lines: {message!r}"
    if seconds > MOST_SECONDS:
        yield f"{seconds:.0f} s"
    if code and out.read_bytes() != OLD:
        yield "what an earlier run wrote is gone"


def peak_of(pid: int | str) -> int:
    """Peak memory of a process in bytes so far; 0 if it has ended. What the system says after its end counts its parent's, too."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) << 10 if found else 0
    return 0


def run_watched(command: Sequence[str], progress: Path, most_s: float = MOST_SECONDS) -> tuple[int, str, int]:
    """Run a command, ended when `progress` has not grown for long: exit code, what was wrong with it, peak memory in bytes."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said: list[bytes] = []
        reader = threading.Thread(target=lambda: said.append(process.stderr.read()), daemon=True)
        reader.start()
        size, since = -1, time.monotonic()
        peak_bytes = 0
        while process.poll() is None:
            peak_bytes = max(peak_bytes, peak_of(process.pid))
            now = progress.stat().st_size if progress.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > most_s + 10:  # some for the start
                process.kill()
            time.sleep(0.02)
        reader.join()
    text = b"".join(said).decode("utf-8", "replace")
    if process.returncode < 0:
        return process.returncode, f"ended by signal {-process.returncode}", peak_bytes
    if process.returncode not in (0, 10, *DOCUMENTED) or "Traceback" in text:
        return process.returncode, f"exit code {process.returncode}: {text[-2000:]}", peak_bytes
    return process.returncode, "", peak_bytes
