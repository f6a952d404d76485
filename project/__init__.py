"""hello-lightning: a linear model from its first tensor to production, and any other network on the same road."""

import os

# ONNX Runtime reports its sessions to its makers, from 1.29 on Linux as well, unless it is told before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
