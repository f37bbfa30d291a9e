"""Which photo is put onto which, and the gallery in which results look for their person.

Two schemes. Plain: photos are named PERSON_KIND.jpg; in sorted order, the first photo of a person is put onto the second photo of the next
person and of the fifth next, and the gallery is all photos that are not anybody's first, the target's own included. Wild, for photos
labelled frontal, left, right and mouth: the frontal photo of each person is put onto all photos of the next one, and the gallery is each
person's first other photo.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from utils.errors import BadArgument, UnreadableInput

PHOTO_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
TARGET_STEPS = (1, 5)
FRONTAL = "frontal"
WILD_KINDS = {FRONTAL, "left", "right", "mouth"}


@dataclass(frozen=True)
class Label:
    """What is known of a photo; empty where nothing is said."""

    person: str = ""
    kind: str = ""
    group: str = ""


@dataclass(frozen=True)
class Pair:
    """One swap: the face of `person`, shown by `source`, is put onto `target`."""

    person: str
    source: Path
    target: Path


@dataclass(frozen=True)
class SwapPlan:
    """All swaps of a folder, and the photos in which their results are looked up: (person, photo)."""

    pairs: tuple[Pair, ...]
    gallery: tuple[tuple[str, Path], ...]

    @property
    def photos(self) -> list[Path]:
        """Every photo that is needed, once, sorted."""
        shown = {path for pair in self.pairs for path in (pair.source, pair.target)}
        return sorted(shown | {path for _, path in self.gallery})


def read_labels(path: Path | None) -> dict[str, Label]:
    """File name -> label, from a JSON list of records with `file` and, as far as known, `identity`, `kind` and `group`.

    Raises:
        UnreadableInput: if the file is not there, or is not what it should be.
    """
    if path is None:
        return {}
    try:
        return {
            Path(entry["file"]).name: Label(*(entry.get(key) or "" for key in ("identity", "kind", "group")))
            for entry in json.loads(path.read_text(encoding="utf-8"))
        }
    except OSError as error:
        raise UnreadableInput(f"the labels {str(path)!r} are not there; check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableInput(f"{str(path)!r} is no JSON list of records with a `file`; correct it") from error


def plan_swaps(folder: Path, labels: Mapping[str, Label]) -> SwapPlan:
    """The swaps of a folder, by the scheme that its labels call for.

    Raises:
        BadArgument: if there are not enough photos to make pairs.
    """
    photos = [path for path in sorted(folder.glob("*_*")) if path.suffix.lower() in PHOTO_EXTENSIONS]
    if photos and {labels.get(path.name, Label()).kind for path in photos} == WILD_KINDS:
        return _plan_wild(photos, labels)
    persons: dict[str, list[Path]] = defaultdict(list)
    for path in photos:
        persons[path.stem.rpartition("_")[0]].append(path)
    usable = {person: shown for person, shown in sorted(persons.items()) if len(shown) > 1}
    if len(usable) <= max(TARGET_STEPS):
        raise BadArgument(
            f"{str(folder)!r} has {len(usable)} persons with two photos named PERSON_KIND.jpg; at least {max(TARGET_STEPS) + 1} are needed"
        )
    names = list(usable)
    pairs = [
        Pair(name, usable[name][0], usable[names[(number + step) % len(names)]][1])
        for number, name in enumerate(names)
        for step in TARGET_STEPS
    ]
    return SwapPlan(tuple(pairs), tuple((name, path) for name in names for path in usable[name][1:]))


def _plan_wild(photos: list[Path], labels: Mapping[str, Label]) -> SwapPlan:
    persons: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(photos, key=lambda path: (labels[path.name].kind != FRONTAL, path)):
        persons[labels[path.name].person].append(path)
    names = sorted(persons)
    if len(names) < 2 or any(len(shown) < 2 for shown in persons.values()):
        raise BadArgument("photos labelled frontal, left, right and mouth need two persons with two photos each")
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    pairs = [Pair(name, persons[name][0], target) for name in names for target in persons[following[name]]]
    return SwapPlan(tuple(pairs), tuple((name, persons[name][1]) for name in names))
