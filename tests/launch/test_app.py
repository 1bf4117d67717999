"""What all commands share."""

import os
import pathlib
import subprocess
import sys

import jax

from launch import app


def test_programs_are_kept_in_the_cache_folder(monkeypatch, tmp_path):
  before = jax.config.jax_compilation_cache_dir
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  least = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
  least_before = jax.config.jax_persistent_cache_min_compile_time_secs
  monkeypatch.delenv(least, raising=False)
  try:
    app.keep_programs()
    folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert pathlib.Path(folder).is_dir() and folder.startswith(str(tmp_path))
    assert jax.config.jax_compilation_cache_dir == folder
    assert os.environ[least] == "0.1"
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.1
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # no folder can be there
    app.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == folder
    for given in ("", "/elsewhere"):
      monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", given)
      app.keep_programs()
      assert os.environ["JAX_COMPILATION_CACHE_DIR"] == given
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    app.keep_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
  finally:
    jax.config.update("jax_compilation_cache_dir", before)
    name = "jax_persistent_cache_min_compile_time_secs"
    jax.config.update(name, least_before)


def test_a_log_is_not_flooded_with_progress():
  code = """if True:
    import time
    from launch import app
    app._space_progress()
    from tqdm import tqdm
    for _ in tqdm(range(20)):
      time.sleep(0.02)
    """
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert 1 <= done.stderr.count("/20 ") <= 2
