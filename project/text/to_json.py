"""Conversion of a tokenizer to a `tokenizer.json`."""

from typing import Any

from project.runtime.errors import UserError
from project.text.bpe import WORD, BPETokenizer
from project.text.json_tokenizer import JsonTokenizer, letters
from project.text.tokenizer import END, Tokenizer


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """Return the content of a `tokenizer.json` with the same ids for any text in UTF-8.

    The file puts the end-of-text token in front of a text, as in our training data.

    Raises:
        UserError: If `tokenizers` is not installed, or two tokens represent the same bytes.
    """
    try:
        from tokenizers import Regex, decoders, models, pre_tokenizers, processors
        from tokenizers import Tokenizer as Library
    except ImportError as error:
        raise UserError('--format: needs tokenizers; run pip install -e ".[text]"') from error
    if isinstance(tokenizer, JsonTokenizer):
        library = Library.from_str(tokenizer.text)
    else:
        letter = {byte: character for character, byte in letters().items()}
        names = ["".join(letter[byte] for byte in piece) for piece in tokenizer.pieces[:-1]]
        if len(set(names)) < len(names):
            raise UserError("--format: two tokens have the same bytes, unlike in a tokenizer.json; train again")
        joined: list[Any] = tokenizer.arguments()["merges"] if isinstance(tokenizer, BPETokenizer) else []
        merges = [(names[left], names[right]) for left, right in joined]
        library = Library(models.BPE({name: number for number, name in enumerate(names)}, merges))
        words = [pre_tokenizers.Split(Regex(WORD.pattern), "isolated")] if merges else []
        library.pre_tokenizer = pre_tokenizers.Sequence([*words, pre_tokenizers.ByteLevel(False, use_regex=False)])
        library.decoder = decoders.ByteLevel()
    if library.id_to_token(tokenizer.end) is None:
        library.add_special_tokens([END])
    if tokenizer.begins and library.encode("a").ids == library.encode("a", add_special_tokens=False).ids:
        end = library.id_to_token(tokenizer.end)
        library.post_processor = processors.TemplateProcessing(
            single=f"{end} $A", special_tokens=[(end, tokenizer.end)]
        )
    return library.to_str()
