"""Quantize a run or an exported file, and say what that costs and what it gains."""

from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py and override the run's own: --data.path says where its table is.",
    )
    parser.add_argument("model", help="a run folder, a checkpoint, `last`, or an .onnx file")
    parser.add_argument("output", type=Path, nargs="?", help="the file; model.int8.onnx beside the model unless given")
    parser.add_argument("--dtype", default="int8", help="int8 unless given, float16 or bfloat16: weights alone")
    parser.add_argument("--method", help="dynamic or static; static where there are convolutions, unless given")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.export.quantize import print_quantized, quantize

        print_quantized(quantize(options.model, options.output, options.method, options.dtype, args))
