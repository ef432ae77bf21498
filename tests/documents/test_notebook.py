"""The notebook of the examples runs from its first cell to its last."""

import warnings

import pytest
from paths import ROOT

nbformat = pytest.importorskip("nbformat")
with warnings.catch_warnings():
    # The client of kernels is not ours.
    warnings.simplefilter("ignore")
    nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


@pytest.mark.filterwarnings("ignore")
def test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells print what they promise."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples" / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = "\n".join(
        output.get("text") or output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )

    assert "MarkResult" in outputs
    assert "(250, 3)" in outputs
    assert "('c2c_bob', ('favorite',))" in outputs
    assert "('group_team_0', ('unread', 'vip'))" in outputs
    assert "999 applied, 1 failed, 10 calls" in outputs
    assert "user_2 group_team_7: 51008" in outputs
