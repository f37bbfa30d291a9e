"""Jobs from patterns: every target that a pattern names, with every source."""

from __future__ import annotations

import argparse
import glob
import os
import re
import string
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from utils.batch.job_files import BatchJob
from utils.errors import BadArgument, UnreadableInput
from utils.files import is_there, real_path
from utils.inference.video.probing import MUXERS
from utils.one_swap import EXAMPLES, check_out, complete
from utils.pictures import WRITABLE_EXTENSIONS

DEFAULT_PATTERN = "{source}_{target}"
FIELDS = ("source", "target", "number")
NUMBER_FORMAT = re.compile(r"0?[1-9]?\dd?", re.ASCII)
ANY_FOLDERS = "**"
VIDEO_EXTENSIONS = tuple(MUXERS)


def jobs_of_patterns(args: argparse.Namespace) -> list[BatchJob]:
    """One job for each source and target; where persons are named or everybody is swapped, one for each target with all sources.

    Args:
        args: flags of the command line, with `out_dir`.

    Raises:
        BadArgument: if flags contradict each other, or the names of results do not tell them apart.
        UnreadableInput: if a pattern names no file.
    """
    if args.out_image_name or args.out_video_name:
        raise BadArgument("--out_dir names the results itself; leave --out_image_name and --out_video_name out")
    if bool(args.target_image) == bool(args.target_video):
        raise BadArgument("--out_dir needs --target_image or --target_video, with a pattern such as 'photos/*.jpg'")
    flag = "target_image" if args.target_image else "target_video"
    pattern = args.out_pattern or DEFAULT_PATTERN
    _check_pattern(pattern)
    people = list(_people(args.source_paths or [(EXAMPLES / "images" / "grace_hopper.jpg",)]))
    together = bool(args.target_faces_paths) or args.swap == "all"
    choices = [people] if together else [[person] for person in people]
    jobs = []
    for number, (target, sources) in enumerate(product(_targets(args, flag), choices), 1):
        out = args.out_dir / _result_name(pattern, sources[0][0], target, number, flag)
        said = {flag: target, "source_paths": sources, "image_to_image": flag == "target_image"}
        said["out_image_name" if flag == "target_image" else "out_video_name"] = out
        job = complete(argparse.Namespace(**{**vars(args), **said}))
        check_out(job)
        jobs.append(BatchJob(number, job))
    return jobs


def _people(source_paths: Sequence[Sequence[Path]]) -> Iterator[Sequence[Path]]:
    """A pattern stands for several people, with one photo each."""
    for photos in source_paths:
        if len(photos) == 1:
            yield from ((file,) for file in named_files(photos[0], WRITABLE_EXTENSIONS))
        else:
            yield photos


def _targets(args: argparse.Namespace, flag: str) -> list[Path]:
    """Results of an earlier run are none, also where the pattern names them."""
    targets: list[Path] = []
    extensions = WRITABLE_EXTENSIONS if flag == "target_image" else VIDEO_EXTENSIONS
    for path in named_files(getattr(args, flag), extensions):
        if not real_path(path).is_relative_to(real_path(args.out_dir)):
            targets.append(path)
    if not targets:
        raise BadArgument(
            f"all files like {str(getattr(args, flag))!r} lie in --out_dir, where the results are to be; choose another folder"
        )
    return targets


def named_files(pattern: Path, extensions: Sequence[str]) -> list[Path]:
    """The files that a pattern names, sorted; a file of this very name is itself, a folder all in it, and `**` goes into folders.

    Args:
        pattern: as the user wrote it.
        extensions: of the files that are taken from a folder.

    Raises:
        UnreadableInput: if there is none.
    """
    if is_there(pattern) and pattern.is_dir():
        inside = [path for path in sorted(pattern.iterdir()) if path.suffix.lower() in extensions and path.is_file()]
        if not inside:
            raise UnreadableInput(f"{str(pattern)!r} holds no {', '.join(extensions)} file; give another folder")
        return inside
    if is_there(pattern):
        return [pattern]
    files = [path for path in sorted(_matches(pattern)) if path.is_file()]
    if not files:
        raise UnreadableInput(f"no file is named like {str(pattern)!r}; check the path, and quote patterns")
    return files


def _matches(pattern: Path) -> set[Path]:
    """What a pattern names. Links to folders are not followed below `**`: those to a folder above would never end."""
    if ANY_FOLDERS not in pattern.parts:
        return {Path(name) for name in glob.glob(str(pattern))}  # noqa: PTH207 - takes absolute patterns
    place = pattern.parts.index(ANY_FOLDERS)
    rest = Path(*pattern.parts[place + 1 :])
    tops = _matches(Path(*pattern.parts[:place])) if place else {Path()}
    below = (Path(folder) for top in tops for folder, _, _ in _unhidden(top))
    if not rest.parts:
        return {entry for folder in below for entry in _matches(_escaped(folder) / "*")}
    return {entry for folder in below for entry in _matches(_escaped(folder) / rest)}


def _unhidden(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Folders that a star stands for."""
    for folder, names, files in os.walk(top):
        names[:] = [name for name in names if not name.startswith(".")]
        yield folder, names, files


def _escaped(folder: Path) -> Path:
    """A pattern for just this folder, whatever its name has in it."""
    return Path(glob.escape(str(folder)))


def _check_pattern(pattern: str) -> None:
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise BadArgument(f"--out_pattern {pattern!r}: {error}; use {{source}}, {{target}} and {{number}}") from error
    for _, name, spec, conversion in parts:
        plain = not spec or (name == "number" and NUMBER_FORMAT.fullmatch(spec))
        if name is not None and (name not in FIELDS or conversion or not plain):
            raise BadArgument(
                f"--out_pattern {pattern!r}: use {{source}}, {{target}} and {{number}}, or {{number:05d}}"
            )
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise BadArgument(f"--out_pattern {pattern!r} leads out of --out_dir; give a name, or a folder below it")


def _result_name(pattern: str, source: Path, target: Path, number: int, flag: str) -> str:
    try:
        name = pattern.format(source=source.stem, target=target.stem, number=number)
    except ValueError as error:
        raise BadArgument(f"--out_pattern {pattern!r}: {error}") from error
    known = (*WRITABLE_EXTENSIONS, *VIDEO_EXTENSIONS)
    if Path(name).suffix.lower() in known:
        return name
    own = target.suffix.lower()
    writable, other = (WRITABLE_EXTENSIONS, ".png") if flag == "target_image" else (VIDEO_EXTENSIONS, ".mp4")
    return name + (target.suffix if own in writable else other)
