"""Train a run further: on other data, with a new head where the targets are others, wholly, in part, or by adapters."""

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import told_in_one_line

if __name__ == "__main__":
    parser = ArgumentParser(
        description=__doc__,
        epilog="Further flags are those of train.py, and override the run's own: --data.path new.csv, "
        '--finetuning.freeze "[backbone]", --finetuning.unfreeze_every 2, --finetuning.layer_decay 0.5, '
        "--optimizer.lr 0.001, --trainer.max_epochs 20.",
    )
    parser.add_argument("run", help="a run folder, a checkpoint, or `last`")
    parser.add_argument("--lora", type=int, metavar="RANK", help="train adapters of low rank, and the head, alone")
    arguments, words = parser.parse_known_args()
    with told_in_one_line():
        from project.stages.finetune import finetune

        finetune(arguments.run, arguments.lora, words)
