"""The audit from the command line, on a file of one's own."""

import re
import subprocess
import sys

import numpy as np
import pytest

MINE = """
import jax, jax.numpy as jnp

def train(key, x, y):
  def step(w, _):
    return w - 0.1 * jax.grad(lambda w: jnp.mean((x @ w - y) ** 2))(w), None
  return jax.lax.scan(step, jax.random.normal(key, x.shape[1:]), None, 20)[0]
"""


def _call(folder, *arguments, config="configs/audit.py"):
  return subprocess.run(
    [sys.executable, "-m", "launch.audit", f"--config={config}"]
    + [f"--workdir={folder / 'out'}", *arguments],
    **dict(capture_output=True, text=True),
  )


def _evaluated(*expressions: str) -> list[str]:
  """A line each, in a process of its own: every command defines --config."""
  code = f"""
from informed_recon.types import UserError
from launch import audit
for expression in {expressions!r}:
  try:
    print(eval(expression))
  except UserError as error:
    print(error)
"""
  return subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  ).stdout.splitlines()


def test_a_function_in_a_file(tmp_path):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(12, 3)).astype(np.float32)
  np.savez(tmp_path / "mine.npz", x=x, y=x.sum(1))
  (tmp_path / "mine.py").write_text(MINE)
  data = f"--config.data={tmp_path / 'mine.npz'}"
  train = f"--config.train={tmp_path / 'mine.py'}:train"
  done = _call(tmp_path, data, train, "--config.minutes=0.5")
  assert done.returncode == 0, done.stderr
  assert "Tried" in done.stdout
  names = {p.name for p in (tmp_path / "out").iterdir()}
  assert names > {"audit.html", "audit.json", "audit.csv"}
  assert [n for n in names if n.endswith(".npz")] and len(names) == 4
  for bad in (data, train):
    done = _call(tmp_path, bad)
    assert done.returncode == 2 and "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_loaded(tmp_path):
  (tmp_path / "bad.py").write_text("def train(:")
  (tmp_path / "lost.py").write_text("x = 1\nimport nowhere_at_all\n")
  (tmp_path / "empty.py").write_text("")
  for name, said in (
    (f"{tmp_path}/bad.py:train", "bad.py.*SyntaxError.*bad.py, line 1"),
    (f"{tmp_path}/lost.py:train", "ModuleNotFoundError.*lost.py, line 2"),
    (f"{tmp_path}/empty.py:train", "no function 'train'"),
    (f"{tmp_path}/none.py:train", "no file .*none.py"),
    (f"{tmp_path}/mine.txt:train", "must be FILE.py:FUNCTION"),
    (f"{tmp_path}/bad.py", "must be FILE.py:FUNCTION"),
  ):
    lines = _evaluated(f"audit._function({name!r})")
    assert re.search(said, lines[0]), lines


@pytest.mark.parametrize(
  "given, said",
  [
    (["--config.recods=all"], "'recods'.*; configs/audit.py lists the keys"),
    (["--config=audit"], "flag --config is given 2 times"),
    (["--help"], "their meaning: .*configs/audit.py"),
  ],
)
def test_the_launcher_points_to_its_own_config(tmp_path, given, said):
  done = _call(tmp_path, *given)
  assert re.search(said, done.stderr + done.stdout), done.stderr


def test_a_config_of_another_command(tmp_path):
  done = _call(tmp_path, "--config.train=mine.py:train", config="demo")
  assert done.returncode == 2 and "give --config=audit or" in done.stderr


def test_records_by_index_or_by_order():
  lines = _evaluated("audit._records('0, 5,9')", "audit._records('atypical')")
  assert lines == ["[0, 5, 9]", "atypical"]
