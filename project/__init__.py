"""hello-lightning: train a model, from its first tensor to production.

The commands in scripts/ are functions here: `from project import train, load`.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from project.exporting.export import export as export
    from project.exporting.quantize import quantize as quantize
    from project.inference.compare import compare as compare
    from project.inference.evaluate import evaluate as evaluate
    from project.inference.generate import generate as generate
    from project.inference.predict import predict as predict
    from project.inference.run import Run as Run
    from project.inference.run import load as load
    from project.serving.server import serve as serve
    from project.stages.crossvalidate import crossvalidate as crossvalidate
    from project.stages.distill import distill as distill
    from project.stages.ensemble import combine as ensemble  # noqa: F401
    from project.stages.finetune import finetune as finetune
    from project.stages.prune import prune as prune
    from project.training.train import train as train

# ONNX Runtime sends telemetry (on Linux since 1.29) unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where each name is imported from when it is first used: serving needs neither torch nor Lightning.
_PLACES = {
    "Run": "project.inference.run.Run",
    "compare": "project.inference.compare.compare",
    "crossvalidate": "project.stages.crossvalidate.crossvalidate",
    "distill": "project.stages.distill.distill",
    "ensemble": "project.stages.ensemble.combine",
    "evaluate": "project.inference.evaluate.evaluate",
    "export": "project.exporting.export.export",
    "finetune": "project.stages.finetune.finetune",
    "generate": "project.inference.generate.generate",
    "load": "project.inference.run.load",
    "predict": "project.inference.predict.predict",
    "prune": "project.stages.prune.prune",
    "quantize": "project.exporting.quantize.quantize",
    "serve": "project.serving.server.serve",
    "train": "project.training.train.train",
}
__all__ = [*_PLACES]


def __getattr__(name: str) -> Any:
    """Import a function when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module 'project' has no attribute {name!r}")
    module, _, function = _PLACES[name].rpartition(".")
    return getattr(importlib.import_module(module), function)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
