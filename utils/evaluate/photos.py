"""Judge the swaps of folders of photos: a table, a verdict, groups, contact sheets, and one HTML file with the worst swaps.

    python -m utils.evaluate FOLDER ... --out REPORT_FOLDER [--labels photos.json] [--second_net FILE.onnx]
    python -m utils.evaluate --compare REPORT_FOLDER_A REPORT_FOLDER_B --out COMPARISON_FOLDER

`pairs` says which photo goes onto which, `judge`, `expression` and `finish` how a swap is measured, `figures` what is to be reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from utils.errors import BadArgument, SwapError
from utils.evaluate.clips import load_swapper
from utils.evaluate.compare import compare_folders
from utils.evaluate.figures import FIGURES_BY_NAME, mean_of
from utils.evaluate.judge import Judge, Seen, swap_photo
from utils.evaluate.pairs import Label, Pair, SwapPlan, plan_swaps, read_labels
from utils.evaluate.report import RESULTS, SETS_FILE, Shown, write_contact_sheets, write_report
from utils.evaluate.second_net import open_second_net
from utils.evaluate.sheets import make_folder, portrait
from utils.evaluate.tables import (
    ScoredSwap,
    compare_groups,
    groups_line,
    judge_goals,
    plain_text,
    verdict_table,
    write_rows,
)
from utils.flag_types import positive_int
from utils.inference.face_swapper import FaceSwapper
from utils.inference.records import Image
from utils.pictures import read_picture

SUMMARY = (
    *("to_source", "to_other", "nearer_source", "retrieved", "second_nearer", "mouth", "eye_right", "eye_left"),
    *("yaw_deg", "eye_symmetry", "seam", "edge_colour", "sharpness", "grain"),
)


def evaluate_folder(
    plan: SwapPlan, name: str, swapper: FaceSwapper, judge: Judge, labels: Mapping[str, Label], results: Path
) -> list[Shown]:
    """Make all swaps of a plan, keep them in the folder `results`, and score them."""
    images = {path: read_picture(path).bgr for path in plan.photos}
    identities = {path: swapper.identify(image, path.name) for path, image in images.items()}
    seen = {path: _seen(judge, image, path) for path, image in images.items()}
    gallery = [(person, seen[path]) for person, path in plan.gallery]
    shown = []
    for pair in tqdm(plan.pairs, desc=name, unit="swap", disable=None):
        swap = swap_photo(swapper, images[pair.target], identities[pair.source], identities[pair.target])
        score = judge.score(swap, seen[pair.source], seen[pair.target], pair.person, gallery)
        group = labels.get(pair.target.name, Label()).group
        scored = ScoredSwap(pair.source.name, pair.target.name, group, score)
        cv2.imwrite(str(results / f"{scored.name}.png"), swap.result)
        shown.append(Shown(scored, _strip(pair, seen, swap.result)))
    return shown


def _seen(judge: Judge, image: Image, path: Path) -> Seen:
    seen = judge.see(image)
    if seen is None:
        raise BadArgument(f"the judge finds no face in {path.name!r}; take the photo out of the folder")
    return seen


def _strip(pair: Pair, seen: Mapping[Path, Seen], result: Image) -> Image:
    """Source, target and result side by side."""
    source, target = seen[pair.source], seen[pair.target]
    cells = [portrait(photo.image, photo.face) for photo in (source, target)]
    return np.hstack([*cells, portrait(result, target.face)])


def summary_line(name: str, swaps: Sequence[ScoredSwap]) -> str:
    """One line of means over some swaps."""
    scores = [swap.score for swap in swaps]
    figures = [FIGURES_BY_NAME[figure] for figure in SUMMARY]
    means = "  ".join(f"{figure.name} {figure.text(mean_of(scores, figure))}" for figure in figures)
    return f"{name}: {len(swaps)} swaps  {means}"


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate folders, or compare two evaluations; return the exit code of the command line."""
    parser = argparse.ArgumentParser(prog="python -m utils.evaluate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report and the swapped photos")
    parser.add_argument(
        "--labels", type=Path, help="JSON list of {file, identity, kind, group}: groups the target photos"
    )
    parser.add_argument("--second_net", type=Path, metavar="FILE.onnx", help="made by utils.build_pack --second_net")
    parser.add_argument("--pack", choices=("builtin", "ghost"), default="builtin", help="what swaps (builtin)")
    parser.add_argument("--limit", type=positive_int, help="only the first swaps of each folder")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two folders made by --out")
    args = parser.parse_args(argv)
    try:
        if bool(args.compare) == bool(args.folders):
            raise BadArgument("give folders of photos, or --compare with two folders that --out made")
        make_folder(args.out)
        if args.compare:
            first, second = args.compare
            print(compare_folders(first, second, args.out))
        else:
            _evaluate(args)
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _evaluate(args: argparse.Namespace) -> None:
    labels = read_labels(args.labels)
    swapper, judging = load_swapper(args.pack)
    judge = Judge(judging, open_second_net(args.second_net) if args.second_net else None)
    notes = [] if args.second_net else ["No second identity net was given (--second_net): its figures are missing."]
    sets: dict[str, list[Shown]] = {}
    for folder in args.folders:
        name = folder.resolve().name
        plan = plan_swaps(folder, labels)
        plan = SwapPlan(plan.pairs[: args.limit], plan.gallery)
        sets[name] = evaluate_folder(plan, name, swapper, judge, labels, make_folder(args.out / RESULTS / name))
        swaps = [shown.swap for shown in sets[name]]
        write_rows(args.out / f"{name}.csv", swaps)
        write_contact_sheets(args.out, name, sets[name])
        print(summary_line(name, swaps))
        for group in sorted({swap.group for swap in swaps} - {""}):
            print(summary_line(f"  {group}", [swap for swap in swaps if swap.group == group]))
        print(plain_text(verdict_table(judge_goals(name, swaps))))
        print(groups_line(compare_groups(swaps)), flush=True)
    print(*notes, sep="\n")
    write_report(args.out / "report.html", sets, notes)
    places = {folder.resolve().name: str(folder.resolve()) for folder in args.folders}
    (args.out / SETS_FILE).write_text(json.dumps(places), encoding="utf-8")
