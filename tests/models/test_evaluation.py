import warnings

from lightning.pytorch import Trainer

from project.data import SyntheticDataModule
from project.models import Regression
from project.nets import Linear


class Warns(Linear):
    """Says something in each step that a user wants to read once."""

    def forward(self, x):
        warnings.warn("of the net", stacklevel=1)
        return super().forward(x)


def test_a_warning_that_is_shown_once_is_not_repeated_in_each_epoch():
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=3, accelerator="cpu", num_sanity_val_steps=0, enable_model_summary=False, **quiet)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        trainer.fit(Regression((1,), 1, net=Warns), SyntheticDataModule(rows=40, batch_size=20))
    assert [str(warning.message) for warning in seen].count("of the net") == 1
