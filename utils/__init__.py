"""Everything beside the networks: the pipeline, files, flags, and what keeps the program to itself."""

import os

# ONNX Runtime reports its use to Microsoft, and keeps an identity of the machine in the user's cache, unless this is set before it loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
