"""The graph of a TensorFlow.js graph model, parsed from its JSON; nothing of ONNX."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.build_pack.errors import BuildError
from utils.build_pack.graph import TensorSpec


@dataclass(frozen=True)
class Node:
    """One operation of the source graph; `attributes` as TensorFlow.js writes protocol buffers in JSON."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def text(self, key: str) -> bytes:
        """A string attribute."""
        return base64.b64decode(self.attributes[key]["s"])

    def integers(self, key: str) -> list[int]:
        """A list of integers."""
        return [int(value) for value in self.attributes[key]["list"]["i"]]

    def integer(self, key: str) -> int:
        """An integer; one that is left out is 0."""
        return int(self.attributes.get(key, {}).get("i", 0))

    def flag(self, key: str) -> bool:
        """A truth value; one that is left out is false."""
        return bool(self.attributes.get(key, {}).get("b", False))


def parse_node(entry: Mapping[str, Any]) -> Node:
    """One entry of the topology; control inputs are left out, they carry no value."""
    inputs = tuple(name.removesuffix(":0") for name in entry.get("input", []) if not name.startswith("^"))
    return Node(entry["name"], entry["op"], inputs, entry.get("attr", {}))


def input_of(nodes: Sequence[Node]) -> TensorSpec:
    """The only input of the graph, under the name `input`; a free dimension becomes 1.

    Raises:
        BuildError: if there is not exactly one.
    """
    placeholders = [node for node in nodes if node.op == "Placeholder"]
    if len(placeholders) != 1:
        raise BuildError(f"expected one input and found {len(placeholders)}")
    sizes = [int(dimension["size"]) for dimension in placeholders[0].attributes["shape"]["shape"]["dim"]]
    return TensorSpec("input", tuple(max(size, 1) for size in sizes))


def in_order(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that `outputs` depend on, each after its inputs.

    Raises:
        BuildError: if the graph lacks one of them.
    """
    by_name = {node.name: node for node in nodes}
    ordered: dict[str, Node] = {}
    pending = list(reversed(outputs))
    while pending:
        name = pending[-1]
        if name not in by_name:
            raise BuildError(f"the graph has no node {name!r}")
        missing = [source for source in by_name[name].inputs if source not in ordered]
        if name in ordered or not missing:
            ordered.setdefault(pending.pop(), by_name[name])
        else:
            pending.extend(reversed(missing))
    return list(ordered.values())
