"""The notebooks of the documentation, cell by cell."""

import json
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "docs/notebooks"


@pytest.mark.parametrize(
  "name",
  [pytest.param("audit_images", marks=pytest.mark.slow), "audit_table"],
)
def test_a_notebook_runs_and_reads_records_out(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
  names = {}
  for cell in notebook["cells"]:
    if cell["cell_type"] == "code":
      assert not cell["outputs"]
      exec("".join(cell["source"]), names)
  found = names["found"]
  assert found.table.confident.any()
  sure = found.table[found.table.confident]
  assert (sure.mse < 1e-3 * sure.oracle_mse).all()
  if name == "audit_images":
    assert (tmp_path / "audit.html").exists() and found.pictures()
  else:
    record = names["record"]
    assert abs(record.x - names["x"][5]).max() < 1e-3
