"""Quantize a run or an exported file, and report the change in accuracy, size and speed."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py and override the run's own: --data.path sets the new location of "
        "its table.",
    )
    parser.add_argument("model", help="a run folder, a checkpoint, `last`, or an .onnx file")
    parser.add_argument("output", type=path, nargs="?", help="the file; default: model.int8.onnx next to the model")
    parser.add_argument(
        "--dtype", default="int8", metavar="NAME", help="int8 (default), or float16 or bfloat16 for weights"
    )
    parser.add_argument("--method", metavar="NAME", help="dynamic or static (default: static for convolutions)")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.exporting.quantize import print_quantized, quantize

        print_quantized(quantize(options.model, options.output, options.method, options.dtype, args))
