"""The notebook in docs/: every cell runs, in order, on a small study, and its numbers are those of the comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from support.places import ROOT
from support.readable_studies import readable

NOTEBOOK = ROOT / "docs/results_as_data.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    found: list[dict[str, Any]] = content["cells"]
    return found


def test_every_cell_runs_in_order(
    cells: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = readable(tmp_path)
    folder.rename(folder.with_name("mine"))
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    space: dict[str, Any] = {"__name__": "__main__"}
    for place, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, cell {place}", "exec"), space)
    import matplotlib.pyplot as plt

    assert len(plt.get_fignums()) == 2
    plt.close("all")
    value = space["primary"].filter(arm="average")["value"].item()
    assert space["by_hand"] == pytest.approx(value)
    assert value > 0
    assert space["table"]["arm"].tolist() == ["critique", "average", "base model"]
    assert space["run"].pairs.height == 4
    assert "average minus critique: higher" in capsys.readouterr().out


def test_no_outputs_are_stored_and_every_cell_is_named_once(cells: list[dict[str, Any]]) -> None:
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in codes)
    assert len({cell["id"] for cell in cells}) == len(cells)
