from hypothesis import given
from hypothesis import strategies as st

from project.text import ByteTokenizer, tokenizer_from_dict


@given(st.binary())
def test_any_bytes_round_trip(data):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(data)
    assert ids.tolist() == list(data)
    assert tokenizer.decode([tokenizer.end, *ids, tokenizer.end]) == data


def test_it_is_the_same_as_plain_data():
    tokenizer = tokenizer_from_dict(ByteTokenizer().to_dict())
    assert (tokenizer.vocab_size, tokenizer.end) == (257, 256)
    assert tokenizer.token_bytes == [1] * 256 + [0]
