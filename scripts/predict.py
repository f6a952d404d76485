"""Predictions for the rows of a table, by a run or an exported file."""

from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import told_in_one_line

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run folder, a checkpoint, `last`, or an .onnx file")
    parser.add_argument("input", type=Path, help="a CSV file, a Parquet file or a folder of Parquet files")
    parser.add_argument("output", type=Path, help="a .csv or .parquet file: the input's rows with `<target>_predicted`")
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help="let the run name its classes")
    arguments = parser.parse_args()
    with told_in_one_line():
        from project.inference.predict import predict

        rows = predict(arguments.run, arguments.input, arguments.output, arguments.trust)
        print(f"{rows} rows written to {arguments.output}")
