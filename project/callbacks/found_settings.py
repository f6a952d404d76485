"""Save the learning rate or batch size that Lightning's finders find in the settings of the run."""

from collections.abc import Callable, Iterator
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities import rank_zero_warn

from project.callbacks.hyperparameters import Hyperparameters
from project.callbacks.run_folder import RunFolder
from project.models.optimization import set_learning_rate

FINDERS = (LearningRateFinder, BatchSizeFinder)
SKIPPED = 10  # number of first losses to ignore, as Lightning's finder does
LEARNS = 0.95  # a search is useful if its lowest loss is below this fraction of the first loss
TOO_LOW = 0.01  # a rate is too low below this fraction of the rate of the lowest loss; a tenth is a common choice
RATES = ("lr", "learning_rate")


class FoundSettings(Callback):
    """Print the results of the finders, and replace the finders by them in the settings, so that no search is repeated.

    Source of the advice about rates: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017).

    Args:
        config: Settings of the run, which are changed in place.
        to_yaml: Returns them as YAML.
    """

    allows_grouped_steps = True

    def __init__(self, config: Namespace, to_yaml: Callable[[], str]) -> None:
        self.config, self.to_yaml = config, to_yaml

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the results; finders are before this callback in the list."""
        finders = [callback for callback in trainer.callbacks if isinstance(callback, FINDERS)]  # type: ignore[attr-defined]
        if not finders or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        for finder in finders:
            if isinstance(finder, BatchSizeFinder):
                self._keep_size(trainer, finder.optimal_batch_size)
            else:
                self._keep_rate(trainer, finder)
        chosen = self.config.trainer.callbacks
        chosen = chosen if isinstance(chosen, list) else [chosen]
        others = [
            callback for callback in chosen if not callback.class_path.endswith(tuple(f.__name__ for f in FINDERS))
        ]
        self.config.trainer.callbacks = others or None
        # Lightning's finder of a batch size would search again before the test.
        trainer.callbacks = [callback for callback in trainer.callbacks if callback not in finders]  # type: ignore[attr-defined]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RunFolder):
                callback.config = self.to_yaml()
            elif isinstance(callback, Hyperparameters):
                callback.choose(self.config.as_dict())

    def _keep_size(self, trainer: Trainer, size: int | None) -> None:
        places = [self.config.data.get("init_args", {}), self.config.model.get("init_args", {})]
        flags = [flag for flag, place in zip(("data", "model"), places, strict=True) if "batch_size" in place]
        for flag in flags[:1]:
            self.config[flag].init_args.batch_size = size
        trainer.print(f"Batch size found: {size}" + "".join(f" (--{flag}.batch_size)" for flag in flags[:1]))

    def _keep_rate(self, trainer: Trainer, finder: LearningRateFinder) -> None:
        search: Any = finder.optimal_lr
        rate = search.suggestion() if search is not None else None
        if rate is None:
            rank_zero_warn(
                "LearningRateFinder found no learning rate: it needs more steps; the rate in the settings is used"
            )
            return
        set_learning_rate(trainer, rate)
        flags = [*self._rate_flags()]
        for flag in flags:
            self.config[flag] = rate
        name = "".join(f" (--{flag.replace('init_args.', '')})" for flag in flags)
        trainer.print(f"Learning rate found: {rate:.3g}{name}")
        losses, rates = search.results["loss"][SKIPPED:], search.results["lr"][SKIPPED:]
        if problem := rate_problem(rate, rates, losses):
            rank_zero_warn(f"the learning rate {rate:.3g} that LearningRateFinder found {problem}")

    def _rate_flags(self) -> Iterator[str]:
        """Yield the settings that hold the rate: of the optimizer, or of a model that builds its own."""
        for section in ("optimizer", "model"):
            arguments = (self.config.get(section) or {}).get("init_args") or {}
            names = [name for name in RATES if name in arguments]
            if names:
                yield f"{section}.init_args.{names[0]}"
                return


def rate_problem(rate: float, rates: list[float], losses: list[float]) -> str | None:
    """Return why a rate is a bad choice, judged by the losses at the rates that were tried, ascending; else None.

    Lightning chooses the rate at which the loss falls fastest with the rate itself, not with its logarithm. For tiny
    rates, this slope is noise.
    """
    tried = [(loss, tried) for loss, tried in zip(losses, rates, strict=True) if loss == loss]
    if not tried:
        return None
    lowest, best = min(tried)
    if lowest > LEARNS * tried[0][0]:
        return f"does not help: no rate up to {rates[-1]:.3g} lowers the loss; raise --trainer.callbacks.max_lr"
    if rate < TOO_LOW * best:
        return f"is too low to learn: the loss is lowest at {best:.2g}; set --optimizer.lr {best / 10:.2g}"
    if rate > best:
        return f"is too high: the loss is lowest at {best:.2g}; set --optimizer.lr {best / 10:.2g}"
    return None
