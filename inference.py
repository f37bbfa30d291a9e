"""Swap faces in photos and videos: reads the flags, chooses what they ask for, and turns errors into one line and an exit code.

One swap is in `utils.one_swap`, many are in `utils.batch`, the pipeline is in `utils.inference`; heavy libraries are imported after the
flags are read, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":  # until everything is imported there is nothing to tidy up, nor to say
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, TextIO

from utils.batch.flags import refuse_batch_flags
from utils.errors import BadArgument, UnwritableOutput
from utils.flags import build_parser
from utils.limits import limits_of
from utils.memory import as_swap_error
from utils.model_files.flags import manage_weights
from utils.one_swap import PIPE, complete, load_models, prepare, swap
from utils.pack_flags import choose_pack, ghost_options
from utils.process import check_current_folder, leave, prepare_process, tell_warnings
from utils.progress import no_progress, show_progress
from utils.provenance.flags import refuse_provenance_flags
from utils.signals import INTERRUPTED, ignore_signals, is_interruption
from utils.streams import write_note, write_result
from utils.version import __version__
from utils.video_flags import refuse_output_flags

if TYPE_CHECKING:
    from utils.batch.results import Outcome

VENV_PYTHON = ".venv/bin/python, which 'make venv' makes"


def note(args: argparse.Namespace, line: str) -> None:
    """Print to stderr unless --quiet."""
    if not args.quiet:
        write_note(line)


def tell_outcome(args: argparse.Namespace, stream: TextIO, outcome: Outcome) -> None:
    """Print what was made: its path, or with --json all that is known of it.

    Raises:
        UnwritableOutput: if stdout takes nothing; the output is there all the same.
    """
    try:
        write_result(outcome.to_json() if args.json else outcome.output, stream)
    except UnwritableOutput as error:
        error.add_note(f"{outcome.output!r} is done")
        raise


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "face"), count(2, "face")
    ('1 face', '2 faces')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def run(args: argparse.Namespace) -> None:
    """Do the swap that the flags say, and tell it."""
    from utils.batch.results import DONE, outcome_of, versions_of

    started = time.perf_counter()
    job = prepare(args, partial(note, args))
    report = swap(args, job)
    note(args, f"swapped {count(report.swaps, 'face')} in {count(report.frames, 'frame')}")
    if args.out == PIPE:
        return
    outcome = outcome_of(
        args,
        1,
        status=DONE,
        seconds=round(time.perf_counter() - started, 4),
        frames=report.frames,
        faces=report.swaps,
        similarity=tuple(round(float(one), 4) for one in report.best_similarity),
        versions=versions_of(job.swapper.pack.name, job.swapper.pack.version),
        finished=round(time.time(), 3),
    )
    tell_outcome(args, sys.stdout, outcome)


def tell_faces(args: argparse.Namespace) -> None:
    """Write a photo of everybody in the target, and tell where they are seen."""
    from utils.face_list import list_faces

    refuse_output_flags(args)
    complete(args)
    progress = no_progress if args.quiet else show_progress
    pack = load_models(args, partial(note, args))
    options = None if args.image_to_image else args.video_options
    for line in list_faces(args.target, options, limits_of(args), args.list_faces, pack, args.similarity_th, progress):
        write_result(line)


def tell_marks(args: argparse.Namespace) -> int:
    """Say what marks a file carries; the exit code says it, too."""
    from utils.provenance.verify import verify

    findings = verify(args.verify, args.c2pa_trust)
    write_result(findings.to_json() if args.json else "\n".join(findings.lines()))
    return findings.exit_code


def run_instead(args: argparse.Namespace, argv: Sequence[str]) -> int | None:
    """Do what flags ask for instead of one swap; the exit code, or None if they ask for nothing."""
    code = 0
    if args.print_completion:
        from utils.completion import completion

        write_result(completion(args.print_completion))
    elif manage_weights(args):
        pass
    elif args.benchmark:
        from utils.benchmark.command import run_benchmark

        run_benchmark(args, argv, complete, write_result, partial(note, args))
    elif args.compare:
        raise BadArgument("--compare is for --benchmark; leave it out")
    elif args.list_faces:
        tell_faces(args)
    elif args.verify:
        code = tell_marks(args)
    elif args.doctor:
        from utils.doctor import report

        code = 1 if report() else 0
    elif args.export_onnx:
        choose_pack(args)
        from models.onnx_export import export_generator

        export_generator(ghost_options(args), args.export_onnx)
        write_result(args.export_onnx)
    elif args.jobs or args.out_dir:
        from utils.batch.command import run_batch

        run_batch(args, partial(tell_outcome, args, sys.stdout), partial(note, args))
    else:
        return None
    return code


def notes_of(error: BaseException) -> list[str]:
    """What was added to an error on its way here."""
    return list(getattr(error, "__notes__", []))


def act(argv: Sequence[str]) -> int:
    """Do what a command line asks for; errors become one line, and the exit code says which."""
    started = time.perf_counter()
    args = build_parser(__version__).parse_args(argv)
    tell_warnings(args.quiet)
    limits_of(args).bind_decoders()
    try:
        check_current_folder()
        refuse_batch_flags(args)
        refuse_provenance_flags(args)
        ended = run_instead(args, argv)
        if ended is not None:
            return ended
        run(complete(args))
    except ModuleNotFoundError as error:
        remedy = f"use {VENV_PYTHON}, or 'pip install -r requirements.txt'"
        write_note(f"error: the package {error.name} is not installed for {sys.executable}; {remedy}")
        return 1
    except Exception as error:
        told = as_swap_error(error)
        if told is None or is_interruption(error):  # a defect is shown whole: whoever mends it needs to see where
            raise
        write_note("; ".join([f"error: {told}", *notes_of(error)]))
        return told.exit_code
    note(args, f"Total time: {time.perf_counter() - started:.2f} s")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    prepare_process()
    try:
        code = act(sys.argv[1:] if argv is None else argv)
        ignore_signals()
    except BaseException as error:
        if not is_interruption(error):
            raise
        ignore_signals()
        write_note("; ".join(["interrupted", *(notes_of(error) or ["no half-written file is left"])]))
        return INTERRUPTED
    return code


if __name__ == "__main__":
    leave(main())
