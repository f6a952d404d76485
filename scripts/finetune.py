"""Train a run further: on other data, with a new head if the targets differ, in whole or in part, or with adapters."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error
from project.runtime.ranges import PositiveInt

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="All other flags are those of train.py and override those of the run: --data.path new.csv, "
        '--finetuning.freeze "[backbone]", --finetuning.unfreeze_every 2, --finetuning.layer_decay 0.5, '
        "--optimizer.lr 0.001, --trainer.max_epochs 20.",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, `last`, or public weights")
    parser.add_argument(
        "--lora",
        type=PositiveInt,
        metavar="RANK",
        help="train only low-rank adapters of this rank, and the head; for a language model, only the adapters",
    )
    options, args = parser.parse_known_args()
    with exit_on_user_error():
        from project.stages.finetune import finetune

        finetune(options.run, options.lora, args)
