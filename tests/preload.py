"""Imported once by the process from which commands are forked: they start with all libraries in memory.

A first training and evaluation fill the caches of libraries, such as signatures for parsing and fonts for figures. No
thread may be left running, because a fork copies none: onnxruntime is left out, since it starts one when imported.
"""

import gc
import io
import tempfile
from contextlib import chdir, redirect_stdout, suppress

import onnx  # noqa: F401
import onnxscript  # noqa: F401

import project.exporting.export
import project.inference.compare_report
import project.inference.predict
import project.pipeline.run
import project.stages.crossvalidate
import project.sweep.search  # noqa: F401
from project.inference.evaluate import evaluate
from project.training.train import train

with (
    suppress(Exception),  # each command reports its own failure
    tempfile.TemporaryDirectory() as folder,
    chdir(folder),
    redirect_stdout(io.StringIO()),
):
    train(["--trainer.max_epochs", "1"])
    evaluate("last")
gc.collect()
gc.freeze()  # the garbage collector of a command passes over what lies in memory when it is forked
