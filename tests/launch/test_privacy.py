"""The planner's command line."""

import re
import sys

import pytest
from absl import flags

from informed_recon.dp import bounds
from launch import app, privacy

FLAGS = ("kappa", "log_kappa", "max_success", "records", "batch", "steps")


@pytest.fixture
def command(capsys, monkeypatch):
  """(arguments) -> exit code, stdout, stderr, as `python -m launch.privacy`."""

  def call(*arguments):
    flags.FLAGS.unparse_flags()
    for name in (*FLAGS, "delta"):
      flags.FLAGS[name].unparse()
    monkeypatch.setattr(sys, "argv", ["launch.privacy", *arguments])
    code = 0
    try:
      app.run(privacy.main, privacy.REQUIRED)
    except SystemExit as stop:
      code = stop.code
    return code or 0, *capsys.readouterr()

  return call


SETTING = ("--max_success=0.1", "--records=1000", "--steps=100")


@pytest.mark.parametrize("blind", ["--kappa=0.01", "--log_kappa=-4.605170186"])
def test_the_answer_keeps_the_bound(command, blind):
  code, out, err = command(blind, *SETTING)
  assert (code, err) == (0, "")
  sigma = float(re.match(r"noise multiplier ([\d.]+)\n", out)[1])
  assert bounds.dpsgd_upper(0.01, sigma, 1.0, 100) == pytest.approx(0.1)
  rows = [line.split() for line in out.splitlines() if line[:2] == "0."]
  assert [row[0] for row in rows] == ["0.1", "0.9", "0.5", "0.25", "0.05"]
  for goal, multiplier, epsilon, advantage in (map(float, r) for r in rows):
    found = bounds.dpsgd_upper(0.01, multiplier, 1.0, 100)
    assert found == pytest.approx(goal, rel=2e-3)
    assert epsilon > 0 and 0 < advantage < 1


def test_goals_below_the_blind_guess_are_left_out(command):
  out = command("--kappa=0.2", *SETTING[1:], "--max_success=0.6")[1]
  rows = [line.split()[0] for line in out.splitlines() if line[:2] == "0."]
  assert rows == ["0.6", "0.9", "0.5", "0.25"]


BAD = [
  (["--kappa=0.1", *SETTING], "a blind guess already succeeds that often"),
  ([*SETTING], "give one of kappa, in .* and log_kappa"),
  (["--kappa=2", *SETTING], r"kappa must lie in \(0, 1\], got 2"),
  (["--kappa=.01", *SETTING, "--delta=0"], "delta must lie in"),
  (["--kappa=.01", *SETTING, "--batch=2000"], r"batch .*\[1, records = 1000\]"),
  (["--kappa=.01", *SETTING, "--batch=-1"], r"batch .*, got -1"),
  (["--kappa=.01", *SETTING, "--steps=0"], "steps must lie in"),
  (["--kappa=much", *SETTING], "kappa"),
  (["--kappa=.01", *SETTING[1:]], "--max_success"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_one_line_and_exit_code_2(command, arguments, message):
  code, out, err = command(*arguments)
  assert code == 2 and out == ""
  assert err.count("\n") == 1 and err.startswith("error: ")
  assert re.search(message, err), err
