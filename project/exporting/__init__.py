"""Export a run as one file: ONNX and other formats, and quantization."""
