"""What became of every job: one JSON line each, written as it goes, read again by the next run."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from utils.errors import UnwritableOutput
from utils.pack_flags import GHOST_FLAGS
from utils.version import __version__

TORN = b'{"output"'  # how a line begins that was not written to its end
MOST_BYTES = 256 << 20  # half a million outcomes
MOST_LINE_BYTES = 1 << 20
LATEST_S = 253_402_300_799  # the end of the year 9999, in seconds since 1970
DONE, SKIPPED, FAILED, BUSY = "done", "skipped", "failed", "busy"
WHAT_SHAPES_A_RESULT = (
    *("image_to_image", "swap", "similarity_th", "det_thresh", "min_face", "strength", "video_options"),
    *("label", "keep_gps", "c2pa_cert"),
    *("pack", "device", "batch_size", *GHOST_FLAGS),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one job.

    Attributes:
        output: path of the result.
        status: `done`; `skipped`, as it was there; `failed`; or `busy`, while another process makes it.
        job: line of the job file, or number of the target, from 1 on.
        exit_code: that the command line has for it.
        message: the error.
        sources, target: what was swapped.
        seconds: wall-clock time.
        frames, faces: of the target, and how many faces were swapped in them.
        similarity: cosine of the best face to each person of --target_faces_paths.
        versions: of tool and pack.
        settings: differs whenever the flags that shape a result do.
        finished: seconds since 1970.
    """

    output: str
    status: str
    job: int = 0
    exit_code: int = 0
    message: str = ""
    sources: tuple[str, ...] = ()
    target: str = ""
    seconds: float = 0.0
    frames: int = 0
    faces: int = 0
    similarity: tuple[float, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    finished: float = 0.0

    def to_json(self) -> str:
        """One line; names that are no valid text are written with escapes."""
        return json.dumps(asdict(self))


def outcome_of(args: argparse.Namespace, job: int, **fields: Any) -> Outcome:
    """The outcome of a job with these completed flags."""
    sources = tuple("+".join(map(str, photos)) for photos in args.source_paths)
    output, target = str(args.out), str(args.target)
    return Outcome(output, job=job, sources=sources, target=target, settings=settings_of(args), **fields)


def versions_of(pack_name: str, pack_version: str) -> dict[str, str]:
    """Of tool and pack."""
    return {"tool": __version__, "pack": f"{pack_name} {pack_version}"}


def settings_of(args: argparse.Namespace) -> str:
    """Text that differs whenever the flags that shape a result do."""
    people = [[str(path.absolute()) for path in photos] for photos in (*args.source_paths, *args.target_faces_paths)]
    said = repr((people, args.target.absolute(), [(name, getattr(args, name)) for name in WHAT_SHAPES_A_RESULT]))
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Results:
    """The file of outcomes. Lines are added whole, so that a run that is killed leaves at most its last one torn."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is not there.

        Raises:
            UnwritableOutput: if it cannot be read and written, or holds something else.
        """
        self.path = path
        self._writing = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file() and path != Path(os.devnull):  # some are read without end
                raise UnwritableOutput(
                    f"cannot write {str(path)!r}: it is not a plain file; choose another with --results"
                )
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._last = self._read()
        except OSError as error:
            raise UnwritableOutput(
                f"cannot write {str(path)!r} ({error.strerror or error}); choose another file with --results"
            ) from error

    def _read(self) -> dict[str, Outcome]:
        if os.fstat(self._file).st_size > MOST_BYTES:
            raise UnwritableOutput(
                f"{str(self.path)!r} is larger than {MOST_BYTES >> 20} MB; move it away, or choose another with --results"
            )
        last: dict[str, Outcome] = {}
        line, ours = b"", False
        with self.path.open("rb") as file:
            for line in iter(partial(file.readline, MOST_LINE_BYTES), b""):  # what is longer was not written here
                outcome = _parse(line)
                ours = ours or outcome is not None or line.startswith(TORN)
                if outcome is not None and outcome.status == DONE:
                    last[outcome.output] = outcome
        if line and not ours:
            raise UnwritableOutput(
                f"{str(self.path)!r} holds something else than results; choose another with --results"
            )
        if line and not line.endswith(b"\n"):
            os.write(self._file, b"\n")
        return last

    def last_done(self, output: Path) -> Outcome | None:
        """The last time that this output was made, as far as this file knows."""
        return self._last.get(str(output))

    def add(self, outcome: Outcome) -> None:
        """Write one line.

        Raises:
            UnwritableOutput: if that is not possible any more.
        """
        line = f"{outcome.to_json()}\n".encode()
        with self._writing:
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except OSError as error:
                raise UnwritableOutput(
                    f"cannot write {str(self.path)!r} ({error.strerror}); what is done is done, the same command goes on"
                ) from error

    def close(self) -> None:
        """Nothing is written afterwards."""
        os.close(self._file)


def _parse(line: bytes) -> Outcome | None:
    """The outcome of a line; None for what is torn, or no outcome at all."""
    try:
        outcome = Outcome(**json.loads(line))
        return outcome if isinstance(outcome.output, str) and 0 <= outcome.finished <= LATEST_S else None
    except (ValueError, TypeError, RecursionError):
        return None
