"""hello-lightning: train a model, from its first tensor to production."""

import os

# ONNX Runtime sends telemetry (on Linux since 1.29) unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
