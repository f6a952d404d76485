from project.callbacks.epoch_bar import EpochBar
from tests.callbacks.fitting import MemoryLogger, fit


def shown(capsys, **options):
    fit(EpochBar(), enable_progress_bar=True, logger=MemoryLogger(), num_sanity_val_steps=1, **options)
    return capsys.readouterr().out


def test_one_bar_shows_the_share_of_the_fit_and_counts_epochs_from_one(capsys):
    text = shown(capsys, max_epochs=4)
    bars = text.split("\r")
    assert any("Epoch 1/4:   0%|" in bar for bar in bars)
    assert any("Epoch 3/4:  50%|" in bar for bar in bars)
    assert "Epoch 4/4: 100%|" in bars[-1]
    for absent in ("Epoch 0", "Epoch 5", "Validation", "v_num"):
        assert absent not in text


def test_an_open_number_of_epochs_shows_each_epoch(capsys):
    text = shown(capsys, max_epochs=-1, max_steps=18)
    assert "Epoch 3: 100%|" in text
