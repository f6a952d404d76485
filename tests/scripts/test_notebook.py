"""The notebook runs from start to end, and its outputs match its text."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.command import REPOSITORY

pytestmark = pytest.mark.slow  # a kernel, and the whole of a first hour


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Run all cells in a kernel of this environment, and return the outputs of each code cell."""
    notebook = nbformat.read(REPOSITORY / "scripts/first_hour.ipynb", as_version=4)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where %tensorboard looks for its command
    resources = {"metadata": {"path": tmp_path_factory.mktemp("hour")}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def test_no_cell_prints_a_warning(outputs):
    assert not [shown for cell in outputs for shown in cell if shown.get("name") == "stderr"]


def test_fits_and_comparisons_are_shown_as_figures(outputs):
    pictures = [shown for cell in outputs for shown in cell if "image/png" in shown.get("data", {})]
    assert len(pictures) == 3


def test_training_shows_a_progress_bar_and_the_learned_equation(outputs):
    assert any("application/vnd.jupyter.widget-view+json" in shown.get("data", {}) for shown in outputs[0])
    printed = "".join(shown.text for shown in outputs[0] if shown.output_type == "stream")
    assert "Epoch [100/100], Loss: 0.8373" in printed
    assert "│ x    │ 3.0000 │   2.8810 ± 0.090170 │  2.8792 │          2.8806 │" in printed


def test_the_pipeline_shows_its_progress_and_its_report(outputs):
    shown = outputs[-1]
    printed = "".join(part.text for part in shown if part.output_type == "stream")
    assert re.findall(r"^\[(\d)/5\]", printed, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    [page] = [part.data["text/html"] for part in shown if "text/html" in part.get("data", {})]
    assert "srcdoc=" in page
    assert "Life cycle: MLP on Friedman" in page


def test_tensorboard_is_shown(outputs):
    assert any("tensorboard-frame" in shown.get("data", {}).get("text/html", "") for shown in outputs[2])
