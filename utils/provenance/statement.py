"""What a C2PA manifest says, read from the JSON that the c2pa library makes of it.

Whoever signs a file writes what he likes into its manifest: nothing is taken for granted here, and no text is shown as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import c2pa

from utils.errors import one_line

PACK_PARAMETER = "ghost-face-swap.pack"
UNTRUSTED = "signingCredential.untrusted"
SIGNER_CODES = ("signingCredential.", "timeStamp.")  # of who signed and when, not of what
SHOWN_RELATIONSHIPS = ("parentOf", "componentOf")  # of ingredients; others were looked at only
UNREADABLE = "unreadable manifest"
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Statement:
    """What the newest manifest of a file says.

    Attributes:
        actions: what was done, in order; C2PA's names.
        tools: name and version of what did it.
        pack: the model pack, if that is said.
        source_types: short names of digital source types.
        earlier_types: those that the manifests of what it was made from say, where these hold.
        signer: of the certificate.
        trusted: whether an authority that is trusted vouches for the signer.
        failures: C2PA's codes of what does not hold.
        signer_remarks: C2PA's codes of what is wrong with the certificate or the time of the signature, beside that nobody vouches for it.
    """

    actions: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    pack: str = ""
    source_types: tuple[str, ...] = ()
    earlier_types: tuple[str, ...] = ()
    signer: str = ""
    trusted: bool = False
    failures: tuple[str, ...] = ()
    signer_remarks: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the file is what was signed."""
        return not self.failures


def statement_of(reader: c2pa.Reader) -> Statement:
    """What the newest manifest says, and whether it holds."""
    return read_statement(
        json.loads(reader.json()), reader.get_validation_results(), reader.get_validation_state() == "Trusted"
    )


def read_statement(store: object, results: object, trusted: bool) -> Statement:
    """The same of what the library answers.

    Args:
        store: the manifests, as `c2pa.Reader.json` gives them.
        results: as `c2pa.Reader.get_validation_results` does.
        trusted: whether the signer is.
    """
    manifests = _mapping(_mapping(store).get("manifests"))
    newest = manifests.get(str(_mapping(store).get("active_manifest")))
    failures = set(damage_codes(results))
    if newest is None:
        return Statement(failures=tuple(sorted(failures or {UNREADABLE})))
    actions = _actions(newest)
    earlier = [] if _earlier_fails(results) else _made_from(newest, manifests)
    signature = _mapping(_mapping(newest).get("signature_info"))
    return Statement(
        actions=tuple(printable(action.get("action")) for action in actions),
        tools=tuple(dict.fromkeys(filter(None, (_tool(action.get("softwareAgent")) for action in actions)))),
        pack=next(filter(None, (_pack(action) for action in actions)), ""),
        source_types=_source_types(actions),
        earlier_types=_source_types(action for manifest in earlier for action in _actions(manifest)),
        signer=", ".join(printable(signature[key]) for key in ("common_name", "issuer") if signature.get(key)),
        trusted=trusted,
        failures=tuple(sorted(failures)),
        signer_remarks=tuple(sorted({*failure_codes(results)} - failures - {UNTRUSTED})),
    )


def failure_codes(results: object) -> list[str]:
    """C2PA's codes of all that is wrong with the newest manifest of a file."""
    return _codes(_mapping(_mapping(results).get("activeManifest")).get("failure"))


def damage_codes(results: object) -> list[str]:
    """Those of what was signed; who signed, and when, is another question."""
    return [code for code in failure_codes(results) if not code.startswith(SIGNER_CODES)]


def printable(text: object) -> str:
    """A text from a file as it can be shown in a line: no control characters, no end of line, not too long.

    >>> printable("a\\nb\\x1b[8m")
    'a\\\\nb\\\\x1b[8m'
    """
    whole = str(text)
    return one_line(whole if len(whole) <= LONGEST_TEXT else f"{whole[:LONGEST_TEXT]}...")


def _made_from(manifest: object, manifests: Mapping[str, Any]) -> list[object]:
    """Manifests of what a file was made from, and of what that was made from, as far as they held when it was."""
    found: dict[str, object] = {}
    waiting = [manifest]
    while waiting:
        for ingredient in map(_mapping, _listed(_mapping(waiting.pop()).get("ingredients"))):
            label = str(ingredient.get("active_manifest"))
            held = not damage_codes(ingredient.get("validation_results"))
            if (
                ingredient.get("relationship") in SHOWN_RELATIONSHIPS
                and held
                and label in manifests
                and label not in found
            ):
                found[label] = manifests[label]
                waiting.append(manifests[label])
    return list(found.values())


def _earlier_fails(results: object) -> bool:
    return any(
        _codes(_mapping(_mapping(delta).get("validationDeltas")).get("failure"))
        for delta in _listed(_mapping(results).get("ingredientDeltas"))
    )


def _codes(failures: object) -> list[str]:
    return [printable(_mapping(failure).get("code")) for failure in _listed(failures)]


def _actions(manifest: object) -> list[Mapping[str, Any]]:
    return [
        _mapping(action)
        for assertion in _listed(_mapping(manifest).get("assertions"))
        if str(_mapping(assertion).get("label")).startswith("c2pa.actions")
        for action in _listed(_mapping(_mapping(assertion).get("data")).get("actions"))
    ]


def _tool(agent: object) -> str:
    """Older manifests name it by a text, newer ones with its version."""
    if isinstance(agent, str):
        return printable(agent)
    named = _mapping(agent)
    return " ".join(printable(named[key]) for key in ("name", "version") if named.get(key))


def _pack(action: Mapping[str, Any]) -> str:
    return printable(_mapping(action.get("parameters")).get(PACK_PARAMETER) or "")


def _source_types(actions: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    types = (action.get("digitalSourceType") for action in actions)
    return tuple(sorted({printable(str(one).rpartition("/")[2]) for one in types if one}))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
