"""The entropy of a Markov source agrees with linear algebra, and with the frequencies of a long text."""

from itertools import product

import numpy as np
import pytest

from project.text.markov import MarkovSource


def chain(source):
    """Return the matrix of the chain over contexts, built from their letters."""
    contexts = list(product(range(source.letters), repeat=source.order))
    matrix = np.zeros((len(contexts), len(contexts)))
    for row, context in enumerate(contexts):
        for letter in range(source.letters):
            matrix[row, contexts.index((*context, letter)[1:])] += source.transitions[row, letter]
    return matrix


@pytest.mark.parametrize(("letters", "order"), [(2, 1), (3, 2), (2, 4), (5, 0)])
def test_the_stationary_distribution_is_the_eigenvector_of_the_chain(letters, order):
    source = MarkovSource(letters, order, seed=3)
    values, vectors = np.linalg.eig(chain(source).T)
    vector = vectors[:, np.abs(values - 1).argmin()].real
    assert source.stationary == pytest.approx(vector / vector.sum(), abs=1e-13)


def test_two_letters_have_the_entropy_of_the_textbook():
    source = MarkovSource(2, 1)
    source.transitions = np.array([[0.9, 0.1], [0.4, 0.6]])
    assert source.stationary == pytest.approx([0.8, 0.2], abs=1e-14)
    entropies = [-(p * np.log2(p) + (1 - p) * np.log2(1 - p)) for p in (0.9, 0.4)]
    assert source.entropy == pytest.approx(0.8 * entropies[0] + 0.2 * entropies[1], rel=1e-12)


def test_a_text_has_the_frequencies_of_the_source():
    source = MarkovSource(3, 2, seed=1)
    text = source.draw(100_000)
    grams = [text[i : i + 3] for i in range(len(text) - 2)]
    for state, context in enumerate(product("abc", repeat=2)):
        for letter, probability in zip("abc", source.transitions[state], strict=True):
            expected = source.stationary[state] * probability
            observed = grams.count("".join([*context, letter]).encode()) / len(grams)
            assert observed == pytest.approx(expected, abs=4 * np.sqrt(expected / len(grams)))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_bits_are_those_of_each_letter_after_its_context(order):
    source = MarkovSource(3, order)
    text = source.draw(50)
    contexts = [bytes(97 + digit for digit in digits) for digits in product(range(3), repeat=order)]
    expected = -np.log2(source.stationary[contexts.index(text[:order])])
    for i in range(order, len(text)):
        expected -= np.log2(source.transitions[contexts.index(text[i - order : i]), text[i] - 97])
    assert source.bits(text) == pytest.approx(expected, rel=1e-12)


def test_bits_of_a_long_text_approach_the_entropy():
    source = MarkovSource(8, 2)
    assert source.bits(source.draw(200_000)) / 200_000 == pytest.approx(source.entropy, rel=0.005)


def test_texts_depend_on_their_own_seed_alone():
    source, other = MarkovSource(4, 2, seed=5), MarkovSource(4, 2, seed=6)
    assert (source.transitions == MarkovSource(4, 2, seed=5).transitions).all()
    assert (source.transitions != other.transitions).any()
    assert source.draw(100, seed=1) == source.draw(100, seed=1) != source.draw(100, seed=2)
    assert len(source.draw(1)) == 1
