"""Turn a run into one file: ONNX and other formats, and quantization."""
