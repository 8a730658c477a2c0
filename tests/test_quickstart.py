"""Tests that the whole quickstart notebook runs, on fewer frames, and that it is stored without outputs."""

import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


def test_it_runs_and_scores():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = "FRAMES = 7"
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute(env=os.environ | {"PYTHONPATH": str(ROOT)})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "7 frames of 426x240, objects [1, 2]" in printed and "6 frames segmented" in printed
    jf, j, f, objects, frames = re.search(
        r"J&F ([\d.]+), J ([\d.]+), F ([\d.]+): (\d+) objects, (\d+) frames", printed
    ).groups()
    assert 0 <= float(jf) <= 1 and abs(float(jf) - (float(j) + float(f)) / 2) < 1.1e-3
    assert (objects, frames) == ("2", "5")  # the first and the last frame are not scored
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_it_is_kept_without_outputs():
    code = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
