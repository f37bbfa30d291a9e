"""The one failure of this tool; its message is the line that the command prints."""

from __future__ import annotations


class BuildError(Exception):
    """A package, a net or a tool that is not what the recipe expects."""
