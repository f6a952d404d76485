"""Text as numbers, without torch: tokenizers, corpora and n-gram models."""

from project.text.byte_tokenizer import ByteTokenizer
from project.text.tokenizer import Tokenizer, tokenizer_from_dict

__all__ = ["ByteTokenizer", "Tokenizer", "tokenizer_from_dict"]
