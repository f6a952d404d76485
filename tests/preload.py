"""Imported once by the process from which commands are forked: they start with all libraries in memory.

A first training, evaluation and export fill the caches of libraries, such as signatures for parsing and fonts for
figures. No thread may be left running, because a fork copies none: onnxruntime is left out, since it starts one when
imported.
"""

import gc
import io
import tempfile
from contextlib import chdir, redirect_stdout, suppress
from unittest.mock import patch

import onnx  # noqa: F401
import onnxscript  # noqa: F401
import torch
from torch import nn
from tqdm import tqdm

import project.exporting.export
import project.inference.compare_report
import project.inference.predict
import project.pipeline.run
import project.stages.crossvalidate
import project.sweep.search  # noqa: F401
from project.exporting.formats import OPSET
from project.inference.evaluate import evaluate
from project.runtime.logging import quiet_exporters
from project.training.train import train
from tests.kept import keep_operators, keep_parser

with (
    suppress(Exception),  # each command reports its own failure
    tempfile.TemporaryDirectory() as folder,
    chdir(folder),
    redirect_stdout(io.StringIO()),
):
    keep_parser()
    train(["--trainer.max_epochs", "1"])
    evaluate("last")
    keep_operators()
    with quiet_exporters(), patch.object(tqdm, "monitor_interval", 0):  # 0: without its thread
        torch.onnx.export(nn.Linear(1, 1).eval(), (torch.ones(2, 1),), dynamo=True, opset_version=OPSET, verbose=False)
gc.collect()
gc.freeze()  # the garbage collector of a command passes over what lies in memory when it is forked
