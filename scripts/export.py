"""Export a run as one file that needs neither this project nor Lightning."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error

FORMATS = (
    "onnx (default), pt2, torchscript, safetensors or adapter; for a language model also huggingface, peft (two "
    "folders), gguf (16 bits), gguf-q8_0 or gguf-f32"
)

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py and override the run's own: --data.path sets the new location of "
        "its table; --trust MODULE lets the run use a module's classes.",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, `last`, or public weights")
    parser.add_argument("output", type=path, nargs="?", help="the file; default: model.onnx in the run's folder")
    parser.add_argument("--format", default="onnx", metavar="NAME", help=FORMATS)
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.exporting.export import export

        exported = export(options.run, options.output, options.format, args)
        files = exported.path.iterdir() if exported.path.is_dir() else [exported.path]
        what = "weights" if options.format.startswith(("huggingface", "gguf")) else "outputs"
        size, difference = sum(file.stat().st_size for file in files), f"{exported.difference:.1e}"
        print(f"{exported.path}: {size:,} bytes; {what} differ from the network's by {difference}")
