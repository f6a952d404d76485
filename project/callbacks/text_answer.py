"""Compare a language model with n-grams, with compressors, and with the source of the text if it is known."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from project.data.markov import MarkovDataModule
from project.data.text import TextDataModule
from project.runtime.files import atomic_write
from project.text.compressors import compressed_bits
from project.text.kneser_ney import MAX_TRAINING_SYMBOLS, SYMBOLS, KneserNey, Symbols

ANSWERS = "answers.json"
MAX_BYTES = 2**22  # of the validation and of the test split; the n-gram model takes about 10 s for it
SLOW_BYTES = 2**20
END = SYMBOLS - 1


class TextAnswer(Callback):
    """At the start of a fit on text, compute how well other methods predict the validation and test split.

    These are an interpolated Kneser-Ney model of the training split, whose order is the best one on the validation
    split; the compressors xz, bz2 and zstd, given the training split; and the source itself, if it is known. They are
    stored with the tokens for later runs. If a split is larger than 4 MiB, they are left out with a warning.

    Logs `val/bits_per_byte of Kneser-Ney` at each validation.

    Attributes:
        order: Order of the Kneser-Ney model.
        bits_per_byte: Bits per byte of the test split: `kneser_ney`, `xz`, `bz2`, `zstd`, and `source` if it is known.
    """

    def __init__(self) -> None:
        self.order = 0
        self.bits_per_byte: dict[str, float] = {}
        self.validation: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the answers, or read those of an earlier run on the same text."""
        data: Any = getattr(trainer, "datamodule", None)
        if not isinstance(data, TextDataModule) or not trainer.is_global_zero:
            return
        for split in ("val", "test"):
            if (size := data.split_bytes[split]) > MAX_BYTES:
                fix = f"lower --data.{split}_fraction to get them"
                problem = f"the {split} split has {size:,} bytes, more than {MAX_BYTES:,}"
                rank_zero_warn(f"the n-gram model and the compressors are left out: {problem}; {fix}")
                return
        file = data.files.folder / ANSWERS
        if file.is_file():
            answers = json.loads(file.read_text())
        else:
            if sum(data.split_bytes.values()) > SLOW_BYTES:
                trainer.print("Comparing with n-grams and compressors, once for this text: up to half a minute")
            answers = compute_answers(data)
            with suppress(OSError), atomic_write(file) as temporary:  # later runs compute them again
                temporary.write_text(json.dumps(answers))
        self.order, self.validation, self.bits_per_byte = answers["order"], answers["validation"], answers["test"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the bits per byte of the n-gram model, as a line next to the curve of the model."""
        if self.validation is None or trainer.sanity_checking:
            return
        for logger in trainer.loggers:
            logger.log_metrics({"val/bits_per_byte of Kneser-Ney": self.validation}, step=trainer.global_step - 1)


def compute_answers(data: TextDataModule) -> dict[str, Any]:
    """Return the order of the n-gram model, its bits per byte on the validation split, and all on the test split.

    The bits of the n-gram model include those of the ends of documents, as do the bits of a language model.
    """
    counted = KneserNey(symbols(data, "train", MAX_TRAINING_SYMBOLS))
    validation = counted.bits(symbols(data, "val")) / data.split_bytes["val"]
    best = int(validation.argmin())
    text = symbols(data, "test")
    bits: dict[str, float] = {"kneser_ney": counted.bits(text)[best]}
    train = symbols(data, "train", MAX_TRAINING_SYMBOLS)
    bits |= compressed_bits(*(part[part != END].astype(np.uint8).tobytes() for part in (train, text)))
    if isinstance(data, MarkovDataModule):
        bits["source"] = data.markov.bits(text[text != END].astype(np.uint8).tobytes())
    test = {name: float(value) / data.split_bytes["test"] for name, value in bits.items()}
    return {"order": best + 1, "validation": float(validation[best]), "test": test}


def symbols(data: TextDataModule, split: str, limit: int | None = None) -> Symbols:
    """Return the bytes of a split, or of its last `limit` tokens, with 256 before each document. Shape (symbols,)."""
    ids = data.files.tokens(split).numpy()
    ids = ids[-limit:] if limit else ids
    ids = ids.view(np.uint16) if ids.dtype == np.int16 else ids
    text = np.frombuffer(data.tokenizer.decode(ids), np.uint8).astype(np.int64)
    lengths = np.array(data.token_bytes)[ids]
    return np.insert(text, (np.cumsum(lengths) - lengths)[ids == data.tokenizer.end], END)
