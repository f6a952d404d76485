"""Train a model; `python scripts/train.py --help` shows how, and `--help all` lists all flags."""

import sys

import installed  # noqa: F401

from project.runtime.errors import exit_on_user_error
from project.training.help import answer_at_once, without_all

if __name__ == "__main__" and not answer_at_once(sys.argv[1:]):
    with exit_on_user_error():
        from project.training.train import train

        train(without_all(sys.argv[1:]))
