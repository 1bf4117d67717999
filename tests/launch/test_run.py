"""The command line: one line and exit code 2 for what a user can mend, and
the same results after SIGKILL in any stage."""

import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl import flags

import launch
from informed_recon.storage import answers, files, store
from launch import app, run
from tests.conftest import TINY

ROOT = pathlib.Path(launch.__file__).parent.parent
CONFIG = f"--config={ROOT}/configs/default.py:quick"
OVERRIDES = [f"--config.{key}={value}" for key, value in TINY.items()]


@pytest.fixture
def command(capsys, monkeypatch):
  """(arguments) -> exit code, stdout, stderr, as `python -m launch.run`."""

  def call(*arguments):
    values = flags.FLAGS
    for name in list(values):  # overrides of the call before
      if name.startswith("config."):
        delattr(values, name)
    values.unparse_flags()
    for name in ("config", "workdir"):
      values[name].unparse()
    values["debug"].unparse()
    monkeypatch.setattr(sys, "argv", ["launch.run", *arguments])
    code = 0
    try:
      app.run(run.main, run.REQUIRED)
    except SystemExit as stop:
      code = stop.code
    return code or 0, *capsys.readouterr()

  return call


@pytest.fixture
def workdir(finished, tmp_path):
  return shutil.copytree(finished, tmp_path / "run")


BAD = [
  (["--config.seeed=3"], "no such key in the config: .*seeed"),
  (["--config.training.stepz=3"], "no such key in the config: .*stepz"),
  (["--config.seed=abc"], "config.seed=abc: invalid literal for int"),
  (["--config.training.learning_rate=fast"], "could not convert .*'fast'"),
  (["--config.threat.shared_init=maybe"], "shared_init=maybe"),
  (["--config.data.source=mnits"], "unknown data 'mnits'; known: digits,"),
  (
    ["--config.data.source=tfds", "--config.data.name=mnits"],
    "TFDS knows no data set 'mnits'",
  ),
  (["--config.data.source=npz"], "no data file ''; give one with"),
  (
    ["--config.model.name=cnn"],
    "unknown model 'cnn'; known: convnet, linear, mlp",
  ),
  (
    ["--config.model.options.activation=rellu"],
    "unknown activation 'rellu'; known: .*elu",
  ),
  (
    ["--config.training.optimizer=sdg"],
    "unknown optimizer 'sdg'; known: .*sgd",
  ),
  (
    ["--config.reconstructors.bilinear.optimizer=sdg"],
    "unknown optimizer 'sdg'; known: .*sgd",
  ),
  (["--config.split.shadow=1698"], "= 1938 records, the data set has 1797"),
  (["--nonsense=3"], "Unknown command line flag 'nonsense'"),
  (["--config.seeed=3"], "config: 'seeed'. Did you mean \"seed\" instead"),
  (["run", "--config.seed=1"], "do not know what to do with 'run'; settings"),
  (["--config.model.options.width=0"], r"(a layer has no|layer without) units"),
  (["--config.training.learning_rate=nan"], "must be positive and finite, got"),
  (["--config.training.learning_rate=-0.1"], "learning_rate must be positive"),
  (["--config.training.l2=nan"], "training.l2 must be at least 0 and finite"),
  (["--config.training.l2=-1.0"], "training.l2 must be at least 0 and finite"),
  (["--config.evaluation.fpr=('a',)"], "must lie between 0 and 1, each a num"),
  (["--config.evaluation.candidates=(2.5,)"], "candidates must be numbers"),
  (["--config.evaluation.eta=nan"], "evaluation.eta must be positive, got nan"),
  (["--workdir=twice"], "flag --workdir is given 2 times; give it once"),
  ([CONFIG], "flag --config is given 2 times; give it once"),
]


@pytest.mark.parametrize(
  "arguments, message", BAD, ids=lambda a: a[0][2:50].replace("/", "")
)
def test_bad_input_is_one_line_and_exit_code_2(
  command, tmp_path, arguments, message
):
  code, out, err = command(CONFIG, f"--workdir={tmp_path}/run", *arguments)
  _assert_refused(code, out, err, message)
  assert list(tmp_path.iterdir()) == []


def _assert_refused(code, out, err, message):
  assert code == 2 and out == ""
  assert err.count("\n") == 1 and err.startswith("error: ")
  assert "Traceback" not in err
  assert re.search(message, err), err


@pytest.mark.parametrize(
  "config, message",
  [
    ("configs/nonsense.py", "cannot load the config file: .*nonsense.py"),
    (
      f"{ROOT}/configs/demo.py:fast",
      "^error: config argument must be .* got 'fast'",
    ),
  ],
)
def test_a_config_that_does_not_load(command, tmp_path, config, message):
  code, out, err = command(f"--config={config}", f"--workdir={tmp_path}/run")
  _assert_refused(code, out, err, message)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  "arguments, message",
  [([CONFIG], "--workdir"), (["--workdir=/nonexistent/run"], "--config")],
)
def test_both_flags_are_required(command, arguments, message):
  _assert_refused(*command(*arguments), message)
  assert message in ("--config", "--workdir")
  empty = command(CONFIG, "--workdir=")
  _assert_refused(*empty, "flag --workdir must be given")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written(
  command, tmp_path, monkeypatch, number
):
  def closed(path, put):
    raise OSError(number, os.strerror(number), str(path))

  monkeypatch.setattr(files, "write", closed)
  monkeypatch.setattr(files, "_write", lambda path, put, place: closed(path, 0))
  code, out, err = command(CONFIG, f"--workdir={tmp_path}/run", *OVERRIDES)
  _assert_refused(code, out, err, "cannot write .*config.json: ")


def test_a_float64_environment_is_refused(tmp_path):
  """What crashed in the middle of training, with files left behind."""
  child = _start(tmp_path / "run", JAX_ENABLE_X64="1")
  _, err = child.communicate(timeout=120)
  assert child.returncode == 2
  assert err.decode().splitlines()[-1].endswith("unset JAX_ENABLE_X64")
  assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # a fast machine may be done before the signal
def test_interrupted_says_so_in_one_line_and_goes_on(finished, tmp_path):
  workdir = tmp_path / "run"
  child = _start(workdir)
  end = time.monotonic() + 180
  while not (workdir / "shadow/chunk-00001.sha256").exists():
    assert child.poll() is None and time.monotonic() < end
    time.sleep(0.01)
  child.send_signal(signal.SIGINT)
  _, err = child.communicate(timeout=60)
  text = err.decode()
  assert child.returncode == -signal.SIGINT, text[-3000:]
  assert "Traceback" not in text
  assert text.splitlines()[-1].startswith("interrupted; the same command goes")


def test_a_workdir_of_another_config(command, workdir):
  before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
  answer = command(
    *(CONFIG, f"--workdir={workdir}", *OVERRIDES, "--config.training.l2=0.5")
  )
  _assert_refused(
    *answer, r"belongs to another experiment.*training.l2 \(0.0 there, 0.5"
  )
  after = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
  assert after == before


def test_debug_shows_the_traceback(command, tmp_path):
  with pytest.raises(ValueError, match="split.targets"):
    command(
      *(CONFIG, f"--workdir={tmp_path}/run", "--config.split.targets=0"),
      "--debug",
    )


def test_a_good_run_ends_with_the_table_and_the_report(command, workdir):
  code, out, _ = command(CONFIG, f"--workdir={workdir}", *OVERRIDES)
  assert code == 0
  lines = out.splitlines()
  assert lines[-1] == f"report: {workdir}/report.html"
  results = files.read_json(workdir / "results.json")
  mse = results["attacks"]["bilinear"]["mse_mean"]
  row = next(line for line in lines if line.startswith("bilinear"))
  assert f" {mse:.4f} [" in row
  assert any(line.startswith("nearest-neighbour oracle") for line in lines)


def test_no_space_left_is_one_line_and_resumes(
  command, finished, tmp_path, monkeypatch
):
  """The disk is full from the fifth chunk on, then there is room again."""
  workdir, written = tmp_path / "run", []

  def full(*arguments):
    if len(written) == 4:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    written.append(arguments)
    write(*arguments)

  write = store.write_chunk
  with monkeypatch.context() as patch:
    patch.setattr(store, "write_chunk", full)
    code, out, err = command(CONFIG, f"--workdir={workdir}", *OVERRIDES)
  assert code == 2 and out == ""
  last = err.splitlines()[-1]  # after the progress bars
  assert last.startswith("error: no space left on the device")
  assert "Traceback" not in err
  command(CONFIG, f"--workdir={workdir}", *OVERRIDES)
  _assert_same_end(workdir, finished)


def _assert_same_end(workdir, other):
  first, second = (
    files.read_json(w / "results.json") for w in (workdir, other)
  )
  for results in (first, second):
    del results["timing_seconds"], results["environment"]
  assert first == second
  chunks = sorted(p.relative_to(other) for p in other.rglob("chunk-*"))
  assert len(chunks) == 2 * (20 + 3)
  for path in chunks:
    assert (workdir / path).read_bytes() == (other / path).read_bytes(), path
  ours, theirs = (answers.read(w, "bilinear") for w in (workdir, other))
  np.testing.assert_array_equal(ours.answers.x, theirs.answers.x)


def _start(workdir, **environment):
  return subprocess.Popen(
    [sys.executable, "-m", "launch.run", CONFIG, f"--workdir={workdir}"]
    + OVERRIDES,
    **dict(
      cwd=ROOT,
      env=os.environ | environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    ),
  )


def _kill_when(process, condition, seconds=180):
  """SIGKILL as soon as the condition holds; fails if it never does."""
  end = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, process.communicate()[1].decode()[-2000:]
    assert time.monotonic() < end, "never came so far"
    time.sleep(0.001)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL


def test_sigkill_in_any_stage_and_run_again(finished, tmp_path):
  """Killed in the shadow stage, while fitting the reconstructor and while
  evaluating; the fourth start ends as if nothing had happened."""
  workdir = tmp_path / "run"
  shadow = workdir / "shadow"
  _kill_when(_start(workdir), (shadow / "chunk-00001.sha256").exists)
  assert not (shadow / "chunk-00019.sha256").exists()

  checkpoints = workdir / "reconstructors/bilinear"
  _kill_when(_start(workdir), (checkpoints / "2").exists)
  assert not (workdir / "attacks/bilinear.npz").exists()

  _kill_when(_start(workdir), (workdir / "attacks/bilinear.npz").exists)
  assert not (workdir / "evaluation/results.json").exists()

  last = _start(workdir)
  _, err = last.communicate(timeout=300)
  assert last.returncode == 0, err.decode()[-2000:]
  _assert_same_end(workdir, finished)
  assert (workdir / "report.html").exists()
