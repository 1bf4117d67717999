"""The page of threat models says what the kept results say, and no more."""

import json
import pathlib

import pytest

from informed_recon.report import threats

ROOT = pathlib.Path(__file__).parents[2]
KEPT = ROOT / "results", ROOT / "bench" / "results"


def test_the_page_is_what_the_command_writes(tmp_path):
  page = tmp_path / "threats.md"
  threats.write(page, *KEPT)
  assert page.read_text() == (ROOT / "docs" / "threats.md").read_text()


def test_numbers_follow_the_results_and_what_is_missing_is_said(tmp_path):
  results = json.loads((KEPT[0] / "threats/results.json").read_text())
  results["attacks"]["simulation"]["mse_median"] = 0.0123
  (tmp_path / "threats").mkdir()
  (tmp_path / "threats/results.json").write_text(json.dumps(results))
  page = tmp_path / "page.md"
  threats.write(page, tmp_path, tmp_path)
  said = page.read_text()
  assert "median MSE 1.2e-02" in said
  assert said.count("not measured") == len(threats.THREATS) - 3


def test_rows_of_another_machine_change_nothing(tmp_path):
  for name, case in (("sets_another", "new"), ("sets_busy_2cores", "old")):
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(dict(case=case)))
  assert list(threats.Results(tmp_path, tmp_path).rows("sets")) == ["old"]


@pytest.mark.parametrize("threat", threats.THREATS, ids=lambda t: t.name)
def test_every_row_has_a_page(threat):
  assert (ROOT / "docs" / threat.more).is_file()
