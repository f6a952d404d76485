"""Train a model; `python scripts/train.py --help` lists all flags."""

import sys

from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    with exit_on_user_error():
        from project.training.train import train

        train(sys.argv[1:])
