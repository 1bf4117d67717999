"""Audits that end early, and go on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import audit as doors
from informed_recon.audit import influence, memory, simulated
from informed_recon.audit.simulated import Found
from informed_recon.types import UserError

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(48, 3)).astype(np.float32), np.arange(48) % 2


def train(key, x, y):
  w = jax.random.normal(key, (4,))

  def loss(w):
    return jnp.mean((jnp.tanh(x @ w[:3] + w[3]) - y) ** 2)

  def step(w, _):
    return w - 0.3 * jax.grad(loss)(w), None

  return jax.lax.scan(step, w, None, 25)[0]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
  """As in another process: nothing is remembered."""
  monkeypatch.setattr(memory, "_memories", {})


def test_another_process_goes_on_from_the_folder(tmp_path, monkeypatch):
  first = doors.audit(train, X, Y, records=[3, 20], workdir=tmp_path)
  (file,) = tmp_path.iterdir()
  monkeypatch.setattr(memory, "_memories", {})
  again = doors.audit(train, X, Y, records=[3, 20, 31], workdir=tmp_path)
  same = again.table[again.table.record.isin([3, 20])]
  for column in ("mse", "confident", "residual", "influence", "label_found"):
    np.testing.assert_array_equal(same[column], first.table[column])
  monkeypatch.setattr(memory, "_memories", {})
  monkeypatch.setattr(simulated, "search", None)  # nothing is left to search
  third = doors.audit(train, X, Y, records=[31, 3], workdir=tmp_path)
  assert set(third.table.attack) == {"simulation"}
  file.write_bytes(file.read_bytes()[:-50])
  monkeypatch.setattr(memory, "_memories", {})
  with pytest.raises(UserError, match="damaged"):
    doors.audit(train, X, Y, records=[3], workdir=tmp_path)


def test_a_folder_that_cannot_be(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot make the folder"):
    doors.audit(train, X, Y, records=[3], workdir=tmp_path / "file/below")


def test_another_release_takes_up_nothing(tmp_path):
  doors.audit(train, X, Y, records=[3], workdir=tmp_path)
  other = jax.random.key(1)
  doors.audit(train, X, Y, records=[3], workdir=tmp_path, key=other)
  assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupt_leaves_what_there_is(tmp_path, monkeypatch):
  def search(training, frame, x, y, chosen, *_):
    yield chosen[0], Found(x[chosen[0]], y[chosen[0]], 0.0, 0.0, True)
    raise KeyboardInterrupt

  monkeypatch.setattr(simulated, "search", search)
  found = doors.audit(train, X, Y, records=[3, 20, 31], workdir=tmp_path)
  assert list(found.table.attack) == ["simulation", "none", "none"]
  found.report(tmp_path / "page/a.html")
  page = (tmp_path / "page/a.html").read_text()
  assert page.count("<td>not searched</td>") == 2 and ">nan<" not in page
  assert "interrupted" in found.statement and "1 of 1 records" in str(
    found.statement
  )
  assert len(list(tmp_path.glob("*.npz"))) == 1


def test_what_time_cut_short_gives_no_verdict(monkeypatch):
  def search(training, frame, x, y, chosen, *_):
    for i, ended in zip(chosen, done):
      yield i, Found(x[i] + 9, y[i], 0.5, np.nan, False, ended)

  monkeypatch.setattr(simulated, "search", search)
  done = [False]
  verdict = doors.audit(train, X, Y, records=[3]).facts["verdict"]
  assert verdict.startswith("No verdict: the 1 search begun was cut short")
  done = [False, True, False]
  found = doors.audit(train, X, Y, records=[3, 20, 31])
  assert list(found.table.ended) == [False, True, False]
  assert "None of 1 records" in found.facts["verdict"]
  assert found.facts["figures"]["cut_short"] == 2


def test_an_interrupt_while_records_are_left_out(monkeypatch):
  def bar(blocks, *_, **__):
    yield from list(blocks)[:1]
    raise KeyboardInterrupt

  monkeypatch.setattr(influence, "tqdm", bar)
  found = doors.audit(train, X, Y, records="all")
  assert found.table.influence.notna().sum() == 24
  assert "interrupted" in found.statement and "No verdict" in found.statement


def test_a_recipe_that_is_wrong_leaves_no_trace(tmp_path):
  """What it would measure of the release is of another training."""
  release = train(jax.random.key(0), X, Y)
  for key in (jax.random.key(1), jax.random.key(0)):
    found = doors.audit_released(
      release, X, Y, train=train, key=key, records=[3, 20], workdir=tmp_path
    )
  right = doors.audit(train, X, Y, records=[3, 20]).table.influence
  np.testing.assert_allclose(found.table.influence, right, rtol=1e-6)


def test_time_is_planned_and_kept(monkeypatch):
  """A clock on which a training takes a second and a minute is short."""
  clock = iter(np.arange(0, 1e6, 4.0))
  monkeypatch.setattr(influence.time, "monotonic", lambda: next(clock))
  found = doors.audit(train, X, Y, minutes=1, records="all")
  measured = found.table.influence.notna().sum()
  assert 8 <= measured < 48
  assert "give it more minutes" in found.statement
  assert found.facts["verdict"].startswith("No verdict")
