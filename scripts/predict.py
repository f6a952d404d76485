"""Predict the rows of a table with a run or an exported file."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run folder, a checkpoint, `last`, or an .onnx file")
    parser.add_argument(
        "input",
        help="a CSV file, a Parquet file or a folder of Parquet files, or an address such as s3://bucket/rows.csv; for "
        "a model of images also an image or a folder of images",
    )
    parser.add_argument("output", type=path, help="a .csv or .parquet file: the input's rows and `<target>_predicted`")
    parser.add_argument(
        "--interval", type=float, metavar="LEVEL", help="also write prediction intervals of this level, such as 0.9"
    )
    parser.add_argument(
        "--trust", metavar="MODULE", action="append", default=[], help="let the run use the classes of a module"
    )
    options = parser.parse_args()
    with exit_on_user_error():
        from project.inference.predict import predict

        rows = predict(options.run, options.input, options.output, options.trust, options.interval)
        print(f"{rows} rows written to {options.output}")
