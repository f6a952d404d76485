"""The short help of the training command. It names classes as text, because importing them takes seconds."""

from collections.abc import Sequence
from importlib.metadata import version

NETWORKS = {
    "Linear": "one linear layer (the default)",
    "MLP": 'fully connected layers; --model.net.hidden "[64, 64]"',
    "TableNet": "embeddings of columns, then residual blocks, for tables",
    "CNN": "convolutions, for images",
    "RNN": "a recurrent layer, for sequences; --model.net.cell rnn, lstm or gru",
    "Backbone": "any network of timm, for images; --model.net.name resnet18",
    "Transformer": "self-attention, for sequences",
    "EncoderDecoder": "a Transformer that forecasts several time steps",
    "GPT": "a decoder-only Transformer, for language models",
}
DATA = {
    "SyntheticDataModule": "y = xW + b + noise (the default)",
    "FriedmanDataModule": "a nonlinear function with noise",
    "TabularDataModule": "your table; --data.path FILE --data.target COLUMN",
    "DigitsDataModule": "scikit-learn's images of handwritten digits",
    "SeriesDataModule": "windows of a time series, yours or generated",
    "ImageDataModule": "your images, a folder for each class; --data.path FOLDER",
    "TextDataModule": "tokens of your text, or of a bundled one; --data.path FILE",
    "DialogueDataModule": "conversations, of which the answers are learned; --data.path FILE",
    "PreferenceDataModule": "pairs of answers, one of them better; --data.path FILE",
    "MarkovDataModule": "generated text of known entropy",
}
MODELS = {
    "Regression": "targets are numbers (the default for numbers)",
    "Classification": "targets are classes (the default for classes)",
    "LanguageModel": "targets are the next tokens of a text (the default for text)",
    "DPO": "prefers the better of two answers (the default for pairs)",
    "LinearRegression": "the exact least-squares solution, without training",
}
FLAGS = {  # each with its default
    "--trainer.max_epochs N": ("passes over the training rows", "100; 20 for images, 3 for text"),
    "--data.batch_size ROWS": ("rows in one step", "20; 32 for other data"),
    "--optimizer NAME": ("a class of torch.optim, such as Adam", "SGD; AdamW for images and text"),
    "--optimizer.lr RATE": ("learning rate", "0.01; 0.001 for images and text"),
    "--lr_scheduler NAME": ("a class of torch.optim.lr_scheduler", "none"),
    "--model.loss NAME": ("a loss of torch.nn", "MSELoss; CrossEntropyLoss for classes"),
    "--seed_everything N": ("seed of weights, splits and batches", "0"),
    "--trainer.accelerator NAME": ("cpu, gpu, mps or auto", "auto"),
    "--name NAME": ("name of the run's folder in lightning_logs", "version_N"),
    "--ckpt_path RUN": ("resume a run; `last` is the newest one", "a new run"),
    "--config FILE": ("settings in YAML, as in the config.yaml of a run", "none"),
}
EXAMPLES = (
    "--model.net MLP --optimizer Adam --trainer.max_epochs 20",
    "--data TabularDataModule --data.path houses.csv --data.target price",
    "--config scripts/experiments/digits_cnn.yaml --trainer.max_epochs 3",
    "--ckpt_path last --trainer.max_epochs 200",
)
COMMAND = "python scripts/train.py"


def short_help() -> str:
    """Return a help text that fits two screens; the complete list of flags is longer."""
    sections = [
        f"usage: {COMMAND} [--FLAG VALUE …]\n\n"
        "Train a model, test its best checkpoint, and write a run to lightning_logs/version_N. Without flags:\n"
        "a linear model on y = 3x + 2 + noise.",
        _section("Networks, as --model.net NAME; their arguments are --model.net.ARGUMENT VALUE", NETWORKS),
        _section("Data, as --data NAME; their arguments are --data.ARGUMENT VALUE", DATA),
        _section("Models, as --model NAME; their arguments are --model.ARGUMENT VALUE", MODELS),
        _section("Flags, with defaults", {flag: f"{text} ({default})" for flag, (text, default) in FLAGS.items()}),
        "\n".join(["Examples", *(f"  {COMMAND} {args}" for args in EXAMPLES)]),
        _section(
            "More",
            {
                "--model.net.help MLP": "arguments of a class; also --data.help, --optimizer.help, …",
                "--print_config": "print the complete configuration, and do not train",
                "--help all": "all flags",
            },
        ),
    ]
    return "\n\n".join(sections)


def answer_at_once(args: Sequence[str]) -> bool:
    """Print the short help or the version if an argument requests it; return whether one does."""
    if "--version" in args:
        print(*(f"{name} {version(name)}" for name in ("hello-lightning", "torch", "lightning")), sep="\n")
        return True
    flag = next((flag for flag in ("--help", "-h") if flag in args), None)
    if flag is None or "all" in args[args.index(flag) + 1 :][:1]:
        return False
    print(short_help())
    return True


def without_all(args: Sequence[str]) -> list[str]:
    """Replace `--help all` by `--help`, with which the parser lists all flags."""
    return ["--help"] if "--help=all" in args or ("all" in args and {"--help", "-h"} & {*args}) else [*args]


def _section(title: str, lines: dict[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in lines.items())])
