import pytest
from benchmarks import text
from benchmarks.suite import OURS
from benchmarks.text import LOOP, UNCACHED, WAYS

SMALL = ("--model.net.width", "16", "--model.net.layers", "1", "--data.context", "16", "--data.batch_size", "4")


@pytest.fixture(autouse=True)
def song(folder, monkeypatch):
    """A short text instead of the corpus."""
    (folder / "song.txt").write_text("".join(f"{n} green bottles, and {n - 1} left.\n" for n in range(800, 0, -1)))
    data = ("--data", "TextDataModule", "--data.path", "song.txt", "--data.vocab_size", "280", "--data.cache", "cache")
    monkeypatch.setattr(text, "DATA", data)


@pytest.mark.slow
def test_training_is_compared_with_a_loop_that_learns_the_same(folder):
    found = {one.name: one for one in text.against_plain_loop(2, *SMALL)}
    assert found.keys() == {LOOP, OURS}
    assert found[OURS].ratio == pytest.approx(found[OURS].value / found[LOOP].value)
    cli = text.language_model(*SMALL)
    before = [parameter.clone() for parameter in cli.model.parameters()]
    assert len(text.step_seconds(cli, 3)) == 3
    assert cli.trainer.global_step == 3 + text.WARM_UP
    assert len(text.plain_steps(cli, 5)) == 5
    assert not any(a.equal(b) for a, b in zip(before, cli.model.parameters(), strict=True))


@pytest.mark.slow
def test_precisions_and_generation_are_relative_to_the_first(folder, monkeypatch):
    monkeypatch.setattr(text, "FIVE_MILLION", SMALL)
    found = list(text.precisions(1, {name: WAYS[name] for name in ("float32", "bfloat16")}))
    assert [one.name for one in found] == ["float32", "bfloat16"]
    assert found[0].ratio == 1
    cached, uncached = text.generation(5, width=16, layers=1)
    assert (cached.name, uncached.name) == (OURS, UNCACHED)
    assert cached.ratio == pytest.approx(uncached.value / cached.value)


@pytest.mark.slow
def test_bits_per_byte_do_not_depend_on_the_batch_size(folder):
    assert text.batch_sizes([1, 3, 64], "--data.context", "16").ratio < 1e-12
