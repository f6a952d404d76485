"""Text as numbers, without torch: tokenizers, corpora and n-gram models."""

from project.text.bpe import BPETokenizer
from project.text.byte_tokenizer import ByteTokenizer
from project.text.json_tokenizer import JsonTokenizer
from project.text.tokenizer import Tokenizer, tokenizer_from_dict

__all__ = ["BPETokenizer", "ByteTokenizer", "JsonTokenizer", "Tokenizer", "tokenizer_from_dict"]
