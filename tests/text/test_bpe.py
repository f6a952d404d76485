"""The tokenizers of bytes against the library `tokenizers`, which is another implementation."""

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.runtime.errors import UserError
from project.text import BPETokenizer, JsonTokenizer, tokenizer_from_dict
from project.text.bpe import WORD
from project.text.json_tokenizer import letters

TEXT = (
    b"In the beginning God created the heaven and the earth. 2. And the earth was without form, and void;\n"
    b"it's _snake_case_ and they'll see 1234567 -- \xe2\x80\x9cquotes\xe2\x80\x9d, na\xc3\xafve,\n"
    b"\xe5\x9c\xa8\xe5\xa4\xaa\xe5\x88\x9d\n\n\n"
) * 3
LEARNED = BPETokenizer.train([TEXT], 330)
# The words of `project.text.bpe` in the library's syntax, whose classes are those of Unicode.
LETTERS, SPACES = r"[\p{L}\p{Nl}\p{No}]", r"[\s\x1c-\x1f]"
LIBRARY_WORD = (
    rf"'(?:[sdmt]|ll|ve|re)| ?{LETTERS}{{1,64}}| ?\p{{Nd}}{{1,64}}| ?[^\s\x1c-\x1f\p{{L}}\p{{N}}]{{1,64}}"
    rf"|{SPACES}{{1,64}}(?![^\s\x1c-\x1f])|{SPACES}{{1,64}}"
)


def library(tokenizer, pattern=None):
    """The library's tokenizer with the same merges; its words are GPT-2's by default."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    shown = {byte: letter for letter, byte in letters().items()}
    names = ["".join(shown[byte] for byte in piece) for piece in tokenizer.pieces[:-1]]
    merges = [(names[left], names[right]) for left, right in tokenizer.to_dict()["merges"]]
    built = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    levels = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        levels = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), levels])
    built.pre_tokenizer, built.decoder = levels, decoders.ByteLevel()
    built.add_special_tokens(["<|endoftext|>"])
    return built


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_round_trip(data):
    ids = LEARNED.encode(data)
    assert LEARNED.decode(ids) == data
    assert LEARNED.decode([LEARNED.end, *ids]) == data
    assert sum(LEARNED.token_bytes[number] for number in ids) == len(data)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=200) | st.text(alphabet="ab '_\n\t1.é在²\x1c\u3000", max_size=200))
def test_ids_are_those_of_the_library_for_the_same_words(text):
    assert LEARNED.encode(text.encode()).tolist() == library(LEARNED, LIBRARY_WORD).encode(text).ids


@settings(deadline=None)
@given(st.text(alphabet=[chr(number) for number in (9, 10, 13, *range(32, 127))], max_size=60))
def test_words_of_ascii_are_those_of_gpt_2(text):
    assert LEARNED.encode(text.encode()).tolist() == library(LEARNED).encode(text).ids


def test_a_long_text_has_the_ids_of_the_library():
    assert LEARNED.encode(TEXT * 20).tolist() == library(LEARNED).encode((TEXT * 20).decode()).ids


def test_each_merge_is_the_most_frequent_pair_of_the_text_so_far():
    """A direct count over the whole text, where training updates the counts of words."""
    words = [list(word.encode()) for word in WORD.findall(TEXT.decode())]
    for rank, merge in enumerate(LEARNED.to_dict()["merges"]):
        counts = Counter(pair for word in words for pair in pairwise(word))
        most = max(counts.values())
        # In a word such as "aaa" overlapping pairs count twice, here and in training.
        assert tuple(merge) == min(pair for pair, count in counts.items() if count == most)
        for number, word in enumerate(words):
            joined = []
            for symbol in word:
                if joined and [joined[-1], symbol] == merge:
                    joined[-1] = 256 + rank
                else:
                    joined.append(symbol)
            words[number] = joined


def test_pieces_that_end_at_lines_have_the_ids_of_the_whole():
    lines = TEXT.replace(b"\n\n\n", b"\n").splitlines(keepends=True)
    assert [number for line in lines for number in LEARNED.encode(line)] == LEARNED.encode(b"".join(lines)).tolist()


def test_it_is_the_same_as_plain_data():
    tokenizer = tokenizer_from_dict(json.loads(json.dumps(LEARNED.to_dict())))
    assert (tokenizer.vocab_size, tokenizer.end) == (330, 329)
    assert tokenizer.pieces == LEARNED.pieces
    assert tokenizer.encode(TEXT).tolist() == LEARNED.encode(TEXT).tolist()


@pytest.mark.parametrize("merges", [[[0, 256]], [[-1, 0]], [[97, 97], *([256 + n, 256 + n] for n in range(9))]])
def test_damaged_merges_are_refused(merges):
    with pytest.raises(ValueError, match="token"):
        tokenizer_from_dict({"kind": "bpe", "merges": merges})


@pytest.mark.parametrize(
    ("size", "message"), [(200, "must be 257 or more"), (5_000, "the training text yields at most 2.., got 5000")]
)
def test_a_vocabulary_that_is_not_possible_is_named(size, message):
    with pytest.raises(UserError, match=f"--data.vocab_size: {message}"):
        BPETokenizer.train([b"to be or not to be"], size)


def test_a_tokenizer_of_the_library_is_read():
    text = library(LEARNED).to_str()
    tokenizer = JsonTokenizer(text)
    assert tokenizer.pieces == LEARNED.pieces
    assert tokenizer.end == LEARNED.end
    spelled = b"<|endoftext|> is text here"
    for data in (TEXT, spelled):
        assert tokenizer.decode(tokenizer.encode(data)) == data
        assert tokenizer.encode(data).tolist() == LEARNED.encode(data).tolist()
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()


def test_a_tokenizer_that_loses_bytes_is_refused():
    from tokenizers import normalizers

    built = library(LEARNED)
    built.normalizer = normalizers.Lowercase()
    with pytest.raises(UserError, match="it changes the text"):
        JsonTokenizer(built.to_str()).encode(b"In the beginning")
    with pytest.raises(UserError, match="the text is not UTF-8"):
        JsonTokenizer(library(LEARNED).to_str()).encode(b"\xff")


def test_a_tokenizer_of_words_is_refused():
    from tokenizers import Tokenizer, models

    with pytest.raises(UserError, match="its tokens are not bytes"):
        JsonTokenizer(Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).to_str())
    with pytest.raises(ValueError, match="not a tokenizer.json"):
        JsonTokenizer("{}")
