"""What is installed: one name, and a command that works from any folder."""

import pathlib
import shutil
import site
import subprocess
import sys
import sysconfig

import pytest

import informed_recon

ROOT = pathlib.Path(informed_recon.__file__).parents[1]


def _run(*command, cwd):
  done = subprocess.run(
    [str(part) for part in command],
    **dict(cwd=cwd, capture_output=True, text=True),
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """The bin folder of a virtual environment with a built wheel of the package;
  the dependencies are those of this process."""
  where = tmp_path_factory.mktemp("wheel")
  ignored = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "tests")
  shutil.copytree(ROOT, where / "source", ignore=ignored)
  pip = sys.executable, "-m", "pip", "--quiet"
  wheel = *pip, "wheel", "--no-deps", "--no-build-isolation"
  _run(*wheel, "--wheel-dir", where, ".", cwd=where / "source")
  _run(sys.executable, "-m", "venv", "--without-pip", where / "venv", cwd=where)
  python = where / "venv/bin/python"
  (wheel,) = where.glob("*.whl")
  _run(*pip, "--python", python, "install", "--no-deps", wheel, cwd=where)
  purelib = sysconfig.get_path("purelib", vars=dict(base=where / "venv"))
  others = [p for p in site.getsitepackages() if "site-packages" in p]
  pathlib.Path(purelib, "others.pth").write_text("\n".join(others))
  return where / "venv/bin"


@pytest.mark.slow
def test_a_wheel_runs_from_beside_a_users_own_folders(installed, tmp_path):
  packages = next(installed.parent.glob("lib/*/site-packages"))
  names = {p.name for p in packages.iterdir() if "dist-info" not in p.name}
  assert names == {"informed_recon", "others.pth"}

  for name in ("launch", "configs"):  # a user's own, which must not matter
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('mine')")
  command = installed / "informed-recon"
  out = _run(command, "--version", cwd=tmp_path)
  assert out == f"informed_recon {informed_recon.__version__}\n"
  for face in ("run", "sweep", "store", "privacy", "prepare"):
    assert f"  {face}  " in _run(command, "--help", cwd=tmp_path)
  assert "--config.path=value" in _run(command, "run", "--help", cwd=tmp_path)

  tiny = ["--config.training.steps=5", "--config.split.shadow=200"]
  tiny += ["--config.reconstructors.bilinear.epochs=2"]
  run = command, "run", "--config=digits:quick", "--workdir=out"
  assert _run(*run, *tiny, cwd=tmp_path).endswith("report: out/report.html\n")
  assert (tmp_path / "out/report.html").exists()
  sweep = command, "sweep", "--config=dp_curve:quick", "--workdir=swept"
  out = _run(*sweep, "--dry_run", cwd=tmp_path)
  assert "training.privacy.epsilon=10.0" in out and "3 points" in out
  assert not (tmp_path / "swept").exists()
