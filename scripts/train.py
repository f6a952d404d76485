"""Train a model: `python scripts/train.py --help` lists every flag."""

import sys

from project.runtime.errors import told_in_one_line

if __name__ == "__main__":
    with told_in_one_line():
        from project.training.train import train

        train(sys.argv[1:])
