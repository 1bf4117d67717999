"""The planner's command line."""

import json
import re
import sys

import numpy as np
import pytest
from absl import flags

from informed_recon.dp import accounting, bounds
from launch import app, privacy

FLAGS = (*privacy.ASKED, "table", "question", "json", "plot")


@pytest.fixture
def command(capsys, monkeypatch):
  """(arguments) -> exit code, stdout, stderr, as `python -m launch.privacy`."""

  def call(*arguments):
    flags.FLAGS.unparse_flags()
    for name in FLAGS:
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


def test_forward_answers_for_a_run_and_leaves_it_in_files(command, tmp_path):
  answer, plot = tmp_path / "answer.json", tmp_path / "plot.png"
  code, out, err = command(
    "--kappa=0.01", "--noise_multiplier=2", "--records=1000", "--batch=100",
    "--epochs=2.5", f"--json={answer}", f"--plot={plot}",
  )  # fmt: skip
  assert (code, err) == (0, "") and plot.stat().st_size > 1000
  found = json.loads(answer.read_text())
  assert found["accounted_steps"] == 25
  assert found["success_upper"] == bounds.dpsgd_upper(0.01, 2.0, 0.1, 25)
  assert found["question"]["epochs"] == 2.5 and not found["warnings"]
  # The answer's question, asked again from the file, with one thing changed.
  again = tmp_path / "question.json"
  again.write_text(json.dumps(found["question"]))
  assert command(f"--question={again}")[1] == out
  shuffled = command(f"--question={again}", "--sampling=shuffle", "--table")[1]
  assert "the target against none in place" in shuffled
  epsilon = float(re.search(r"epsilon ([\d.]+) at", shuffled)[1])
  assert epsilon == pytest.approx(
    accounting.dpsgd_epsilon(2.0, 1.0, 3, 1e-5), rel=1e-3
  )
  assert len(shuffled.splitlines()) > len(out.splitlines()) + 5


def test_kappa_from_candidates_and_from_data(command, tmp_path):
  run = ("--noise_multiplier=5", "--records=100", "--steps=10")
  assert command("--candidates=8", *run) == command("--kappa=0.125", *run)
  points = tmp_path / "points.npy"
  np.save(points, np.random.default_rng(0).normal(size=(300, 20)))
  code, out, _ = command(f"--data={points}", "--eta=0.01", *run)
  assert code == 0
  kappa = float(re.search(r"blind guess ([\d.]+)", out)[1])
  assert 1 / 300 < kappa < 0.05


def test_degenerate_answers_carry_a_warning(command):
  rare = ("--records=1000000", "--batch=10", "--steps=100")
  out = command("--kappa=0.01", "--max_success=0.1", *rare)[1]
  assert "warning: the noise multiplier is 0: a record is drawn with" in out
  assert "delta is not below 1 / records" in out
  out = command("--kappa=.1", "--noise_multiplier=.1", *SETTING[1:])[1]
  assert "the bound says nothing" in out and "does not reach" in out


BAD = [
  (["--kappa=.1", "--max_success=.2", "--records=0", "--steps=1"], "records "),
  (["--kappa=.1", "--candidates=3", *SETTING], "got kappa and candidates"),
  (["--kappa=.01", *SETTING, "--epochs=1"], "one of steps and epochs"),
  (["--kappa=.01", *SETTING, "--sampling=fixed_size"], "sampling 'fixed_size'"),
  (["--kappa=.01", *SETTING, "--sampling=cards"], "sampling must be one of"),
  (["--data=none.npy", "--eta=1", *SETTING], "data: .*none.npy"),
  (["--data=none.npy", *SETTING], "eta must be positive"),
  (["--question=none.json"], "question: .*none.json"),
  (["--kappa=0.1", *SETTING], "a blind guess already succeeds that often"),
  ([*SETTING], "give one of kappa, in .* and log_kappa"),
  (["--kappa=2", *SETTING], r"kappa must lie in \(0, 1\], got 2"),
  (["--kappa=.01", *SETTING, "--delta=0"], "delta must lie in"),
  (["--kappa=.01", *SETTING, "--batch=2000"], r"batch .*\[1, records = 1000\]"),
  (["--kappa=.01", *SETTING, "--batch=-1"], r"batch .*, got -1"),
  (["--kappa=.01", *SETTING, "--steps=0"], "steps must lie in"),
  (["--kappa=much", *SETTING], "kappa"),
  (["--kappa=.01", *SETTING[1:]], "--max_success"),
  (["--kappa=.01", *SETTING, "--plot=a.xyz"], "plot must end in .*a.xyz"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_one_line_and_exit_code_2(command, arguments, message):
  code, out, err = command(*arguments)
  assert code == 2 and out == ""
  assert err.count("\n") == 1 and err.startswith("error: ")
  assert re.search(message, err), err


@pytest.mark.parametrize(
  "name, points",
  [
    ("several.npz", None),
    ("none.npy", np.zeros((0, 3))),
    ("number.npy", np.zeros(())),
    ("row.npy", np.zeros(5)),
    ("garbage.npy", b""),
  ],
)
def test_data_that_are_no_records(command, tmp_path, name, points):
  path = tmp_path / name
  if points is None:
    np.savez(path, x=np.zeros((3, 2)))
  elif isinstance(points, bytes):
    path.write_bytes(points)
  else:
    np.save(path, points)
  code, out, err = command(f"--data={path}", "--eta=1", *SETTING)
  assert code == 2 and out == "" and err.count("\n") == 1
  assert err.startswith("error: data")


@pytest.mark.parametrize(
  "key, value",
  [("kappa", "abc"), ("kappa", [1]), ("steps", 1.5), ("data", 3)],
)
def test_a_question_with_values_of_another_kind(command, tmp_path, key, value):
  path = tmp_path / "question.json"
  path.write_text(json.dumps({key: value}))
  code, out, err = command(f"--question={path}", "--records=10")
  assert code == 2 and out == "" and err.count("\n") == 1
  assert err.startswith(f"error: question: {key}={value!r}: "), err
