"""The choice of the next token, and text from bytes as they come."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.text.sampling import Sampling, TextStream, log_probabilities, most_likely

LOGITS = np.log([0.1, 0.4, 0.05, 0.25, 0.2])


def test_without_limits_probabilities_are_those_of_the_model():
    assert Sampling().probabilities(LOGITS) == pytest.approx([0.1, 0.4, 0.05, 0.25, 0.2])


def test_temperature_is_a_power_of_the_probabilities():
    expected = np.exp(LOGITS) ** 2
    assert Sampling(temperature=0.5).probabilities(LOGITS) == pytest.approx(expected / expected.sum())


def test_temperature_zero_takes_the_first_of_the_most_likely_tokens():
    generator = np.random.default_rng(0)
    assert {Sampling(temperature=0).choose(LOGITS, generator) for _ in range(20)} == {1}
    assert Sampling(temperature=0).choose(np.array([1.0, 3.0, 3.0]), generator) == 1


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(top_k=2), [1, 3]),
        (Sampling(top_k=1), [1]),
        (Sampling(top_k=9), [0, 1, 2, 3, 4]),
        (Sampling(top_p=0.4), [1]),
        (Sampling(top_p=0.41), [1, 3]),
        (Sampling(top_p=0.85), [1, 3, 4]),
        (Sampling(top_p=1e-9), [1]),
        (Sampling(top_k=3, top_p=0.9), [1, 3, 4]),
        (Sampling(top_k=3, top_p=0.5), [1, 3]),  # 0.4 of 0.85 is less than a half
    ],
    ids=str,
)
def test_limits_keep_the_most_likely_tokens_in_proportion(sampling, kept):
    expected = np.zeros(5)
    expected[kept] = np.exp(LOGITS[kept])
    assert sampling.probabilities(LOGITS) == pytest.approx(expected / expected.sum())


def test_of_equal_tokens_top_k_keeps_the_first():
    assert Sampling(top_k=2).probabilities(np.zeros(4)).tolist() == [0.5, 0.5, 0, 0]


def test_huge_and_impossible_logits_are_no_problem():
    probabilities = Sampling(temperature=1e-6).probabilities(np.array([1e30, 2e30, -np.inf]))
    assert probabilities.tolist() == [0, 1, 0]


def test_tokens_are_chosen_as_often_as_they_are_likely():
    generator, sampling = np.random.default_rng(0), Sampling(temperature=0.7, top_k=4)
    counts = np.bincount([sampling.choose(LOGITS, generator) for _ in range(20_000)], minlength=5)
    assert counts / 20_000 == pytest.approx(sampling.probabilities(LOGITS), abs=0.015)
    assert counts[2] == 0


def test_the_same_seed_chooses_the_same_tokens():
    one, two = ([Sampling().choose(LOGITS, g) for _ in range(50)] for g in map(np.random.default_rng, (3, 3)))
    assert one == two


@pytest.mark.parametrize(
    ("sampling", "problem"),
    [
        (Sampling(temperature=-1), "temperature: must be 0 or more, got -1"),
        (Sampling(temperature=math.nan), "temperature: must be 0 or more, got nan"),
        (Sampling(top_k=-1), "top_k: must be 0 or more, got -1"),
        (Sampling(top_p=0), "top_p: must be above 0 and at most 1, got 0"),
        (Sampling(top_p=1.1), "top_p: must be above 0 and at most 1, got 1.1"),
        (Sampling(0, 0, 1), None),
    ],
)
def test_settings_out_of_range_are_described(sampling, problem):
    assert sampling.problem() == problem


def test_log_probabilities_are_those_of_the_model():
    assert log_probabilities(LOGITS + 7) == pytest.approx(LOGITS)
    order = sorted(range(5), key=lambda token: -LOGITS[token])
    for count in (1, 3, 5, 9):
        assert most_likely(LOGITS, count) == [(token, LOGITS[token]) for token in order[:count]]


def streamed(pieces, stops=()) -> tuple[list[str], bool]:
    stream = TextStream(stops)
    return [*(stream.add(piece) for piece in pieces), stream.add(b"", final=True)], stream.stopped


def test_a_character_comes_when_it_is_complete():
    data = "aé世🙂".encode()
    pieces, _ = streamed([data[at : at + 1] for at in range(len(data))])
    assert [piece for piece in pieces if piece] == ["a", "é", "世", "🙂"]


def test_bytes_that_are_no_text_are_replaced():
    assert "".join(streamed([b"a\xff", b"\xe4\xb8"])[0]) == "a\ufffd\ufffd"


def test_a_stop_text_across_pieces_ends_the_text_before_it():
    pieces, stopped = streamed([b"one E", b"N", b"D two"], ["END"])
    assert (pieces, stopped) == (["one ", "", "", ""], True)


def test_what_might_have_been_a_stop_text_comes_late_but_whole():
    assert streamed([b"EE", b"N", b"E", b"ND"], ["END!"]) == (["E", "", "EN", "", "END"], False)


def test_the_first_of_several_stop_texts_counts():
    assert streamed([b"a\n\nb. c"], [".", "\n\n", ""]) == (["a", ""], True)


@settings(max_examples=200, deadline=None)
@given(st.text("ab\u4e16"), st.lists(st.text("ab\u4e16", max_size=3), max_size=3), st.data())
def test_a_text_in_pieces_is_the_text_before_the_first_stop(text, stops, data):
    encoded = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(encoded)), max_size=5)))
    pieces = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    found = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    # Pieces decide nothing, except that a stop text that ends earlier is seen before one that starts earlier.
    written, stopped = streamed(pieces, stops)
    assert stopped == bool(found)
    assert "".join(written) in {text[:place] for place in found} or ("".join(written) == text and not found)
