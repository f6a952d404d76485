"""Builds torch's table of ONNX operators once a process: each export builds it anew, which takes half of its time."""

from functools import cache


def keep_operators() -> None:
    """Make every export of this process use the table of the first one with the same opset."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))
