"""Job files: CSV with a head line, or one JSON object a line. Columns and keys are the flags that say what one swap is."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import BadArgument, SwapError, UnreadableInput, one_line
from utils.one_swap import PIPE, check_out, complete

PEOPLE_FLAGS = ("source_paths", "target_faces_paths")
PATH_FLAGS = ("target_image", "target_video", "out_image_name", "out_video_name", "keep_frames", "matte")
OTHER_FLAGS = (
    *("image_to_image", "resume", "swap", "similarity_th", "min_face", "strength", "label", "keep_gps"),
    *("start", "end", "in_fps", "out_fps", "codec", "crf"),
)
JOB_FLAGS = (*PEOPLE_FLAGS, *PATH_FLAGS, *OTHER_FLAGS)
LIST_SEPARATOR = ";"  # between the values of one cell of CSV
MOST_BYTES = 32 << 20
MOST_JOBS = 200_000  # each takes 5 KB of memory


@dataclass(frozen=True)
class BatchJob:
    """One swap of many: its line or number, from 1 on, and its completed flags."""

    number: int
    args: argparse.Namespace


class JobFlagParser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """See `argparse`.

        Raises:
            BadArgument: with its message.
        """
        raise BadArgument(message)


def read_jobs(path: Path, parser: argparse.ArgumentParser, common: argparse.Namespace) -> list[BatchJob]:
    """Read and check a whole job file before anything is done.

    Args:
        path: the file, or - for stdin; JSON lines if it begins with a brace, else CSV.
        parser: of all flags, a `JobFlagParser`.
        common: flags of the command line, which hold for every job that does not say otherwise.

    Raises:
        UnreadableInput: if the file cannot be read.
        BadArgument: for a line that is no job, with its number.
    """
    text = _read_text(path)
    records = _json_lines(text) if text.lstrip().startswith("{") else _csv_lines(text)
    jobs = []
    try:
        for number, fields in records:
            try:
                jobs.append(BatchJob(number, _parse(fields, parser, common)))
            except SwapError as error:
                raise BadArgument(f"line {number}: {error}") from error
            if len(jobs) > MOST_JOBS:
                raise BadArgument(f"line {number}: more than {MOST_JOBS} jobs; split the file")
    except BadArgument as error:
        raise BadArgument(f"{_name(path)}: {one_line(str(error))}") from error
    if not jobs:
        raise BadArgument(f"{_name(path)} holds no job; write one line for each, below a line with the names of flags")
    return jobs


def _name(path: Path) -> str:
    return "stdin" if path == PIPE else repr(str(path))


def _read_text(path: Path) -> str:
    try:
        if path == PIPE:
            encoded = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            if path.exists() and not path.is_file():
                raise UnreadableInput(f"{_name(path)} is not a file; give a job file, or - for stdin")
            with path.open("rb") as file:
                encoded = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableInput(f"cannot read {_name(path)} ({error.strerror or error}); check the path") from error
    if len(encoded) > MOST_BYTES:
        raise UnreadableInput(f"{_name(path)} is larger than {MOST_BYTES >> 20} MB; split it")
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{_name(path)} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadArgument(f"line {number}: not JSON ({error}); write one object a line") from error
        if not isinstance(fields, dict):
            raise BadArgument(f'line {number}: not an object; write {{"target_image": ..., ...}}')
        yield number, fields


def _csv_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    head: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadArgument(f"line {number}: not CSV ({error}); check its quotes") from error
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if head is None:
            head = [cell.strip() for cell in cells]
            if len(set(head)) < len(head):
                raise BadArgument(f"line {number}: a column is there twice; name each flag once")
            for name in head:
                _check_name(name, number)
            continue
        if len(cells) > len(head):
            raise BadArgument(f"line {number}: {len(cells)} cells for {len(head)} columns; quote commas within names")
        yield number, {name: _split(name, cell) for name, cell in zip(head, cells, strict=False) if cell}


def _split(name: str, cell: str) -> str | list[str]:
    return [part for part in cell.split(LIST_SEPARATOR) if part] if name in PEOPLE_FLAGS else cell


def _check_name(name: str, line: int | None = None) -> None:
    if name in JOB_FLAGS:
        return
    place = "" if line is None else f"line {line}: "
    known = ", ".join(sorted(JOB_FLAGS))
    raise BadArgument(f"{place}unknown column {name!r}; a job may say {known}; the rest goes on the command line")


def _parse(fields: dict[str, Any], parser: argparse.ArgumentParser, common: argparse.Namespace) -> argparse.Namespace:
    """The completed flags of one job."""
    argv: list[str] = []
    for name, value in fields.items():
        _check_name(name)
        argv += _argv_of(name, value)
    # Flags that are in the namespace already keep their values where the job says nothing.
    args = parser.parse_args(argv, argparse.Namespace(**vars(common)))
    if PIPE in (args.target_image, args.out_image_name):
        raise BadArgument("a job of many cannot use stdin or stdout; give files")
    if not (args.target_image or args.target_video):
        raise BadArgument("no target; give target_image or target_video")
    if not (args.out_image_name or args.out_video_name):
        raise BadArgument("no output; give out_image_name or out_video_name")
    job = complete(args)
    check_out(job)
    return job


def _argv_of(name: str, value: object) -> list[str]:
    """The same on a command line; null is nothing said."""
    values = value if isinstance(value, list) else [value]
    if value is None or not values:
        return []
    if len(values) > 1 and name not in PEOPLE_FLAGS:
        raise BadArgument(f"{name} takes one value")
    if name == "resume":
        if str(value).lower() not in ("true", "false"):
            raise BadArgument(f"resume: {value!r} is neither true nor false")
        return ["--resume"] if str(value).lower() == "true" else []
    texts = [_text(name, one) for one in values]
    if len(texts) == 1:
        return [f"--{name}={texts[0]}"]
    return [f"--{name}", *(f"./{text}" if text.startswith("-") else text for text in texts)]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str | int | float) or value == "":
        raise BadArgument(f"{name}: {value!r} is neither text nor a number")
    text = str(value)
    if "\0" in text:
        raise BadArgument(f"{name}: a zero byte is no part of a name")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:  # JSON can say half of a pair of surrogates
        raise BadArgument(f"{name}: {text!r} holds half a character and can name no file; write it whole") from error
    return text


def parts_of(jobs: Sequence[BatchJob], shard: tuple[int, int] | None) -> list[BatchJob]:
    """Every `count`-th job from the `number`-th on, so that parts take about as long as each other."""
    if shard is None:
        return list(jobs)
    number, count = shard
    return list(jobs[number - 1 :: count])
