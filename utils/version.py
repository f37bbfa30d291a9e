"""The name and the version of the tool."""

TOOL_NAME = "ghost-face-swap"
__version__ = "0.1.0"
