"""What the flags say about how outputs are marked; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.provenance.credentials import Credentials


@dataclass(frozen=True)
class Marking:
    """How outputs are marked, beside what every output carries.

    Attributes:
        pack: name and version of the model pack, for the manifest; "" leaves it out.
        credentials: who signs; None for self-made ones.
        label: whether a small mark can be seen, too.
        keep_gps: whether the place where the target was taken is passed on.
    """

    pack: str = ""
    credentials: Credentials | None = None
    label: bool = False
    keep_gps: bool = False


DEFAULT_MARKING = Marking()
