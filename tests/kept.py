"""What libraries build anew each time, and tests only once a process, as it takes a third of a short training."""

from copy import deepcopy
from functools import cache


def keep_operators() -> None:
    """Make every export of this process use torch's table of ONNX operators of the first one with the same opset."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))


def keep_parser() -> None:
    """Give every training of this process a copy of the parser of all flags, which is the same for all."""
    from project.training.cli import ExperimentCLI

    build, kept = ExperimentCLI.setup_parser, []

    def setup_parser(cli, *args):
        if not kept:
            build(cli, *args)
            kept.append(cli.parser)
        cli.parser = deepcopy(kept[0])

    ExperimentCLI.setup_parser = setup_parser
