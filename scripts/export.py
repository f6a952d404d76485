"""Export a run as one file that needs neither this project nor Lightning, and answers as the network does."""

from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py and override the run's own: --data.path says where its table is "
        "now; --trust MODULE lets the run name a module's classes.",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, or `last`")
    parser.add_argument("output", type=Path, nargs="?", help="the file; model.onnx in the run's folder unless given")
    parser.add_argument("--format", default="onnx", help="onnx unless given, pt2, torchscript, safetensors, or adapter")
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.export.export import export

        exported = export(options.run, options.output, options.format, args)
        bytes_ = exported.path.stat().st_size
        print(f"{exported.path}: {bytes_:,} bytes; answers differ from the network's by {exported.difference:.1e}")
