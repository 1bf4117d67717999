import types

import pytest

from informed_recon import experiment as experiments

SOURCE = '''
"""What it is."""

def shout(name, times=2):
  """Says it."""
  return f"{name!r}: {', '.join([name] * times)}"  # often
'''


@pytest.fixture
def code_hash(monkeypatch):
  """Of a text."""
  monkeypatch.setattr(
    experiments.inspect, "getsource", lambda module: module.text
  )
  return lambda text: experiments.code_hash([types.SimpleNamespace(text=text)])


def test_code_hash_is_that_of_any_python(code_hash):
  """Versions differ in how they write such a string, and in empty fields."""
  assert code_hash(SOURCE) == "0adbc8d0822893a4"


def test_code_hash_is_of_what_the_code_does(code_hash):
  same = SOURCE.replace("it.", "that.").replace("# often", "")
  assert code_hash(same) == code_hash(SOURCE)
  assert code_hash(SOURCE.replace("times=2", "times=3")) != code_hash(SOURCE)
