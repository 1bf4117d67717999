"""Claims: one holder at a time, and no dead one in the way."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

import informed_recon
from informed_recon.storage import claims

ROOT = pathlib.Path(informed_recon.__file__).parent.parent


@pytest.fixture
def piece(tmp_path):
  return tmp_path / "piece"


def _forge(piece, number=0, age=0.0, **who):
  """A claim as another process may have left it, touched `age` seconds ago."""
  claim = piece.with_name(f".{piece.name}.claim{number}")
  elsewhere = dict(host="other", where="another boot", pid=1, started=1)
  claim.write_text(json.dumps(elsewhere | who))
  touched = claim.stat().st_mtime - age
  os.utime(claim, (touched, touched))
  return claim


def _hold(piece):
  with claims.hold(piece) as mine:
    return mine


def test_one_holder_at_a_time(piece):
  with claims.hold(piece) as mine:
    assert mine and claims.alive(piece)
    assert not _hold(piece)
    with claims.hold(piece.with_name("other")) as other:
      assert other
    assert str(os.getpid()) in claims.holder(piece)
  assert not claims.alive(piece)
  assert _hold(piece)
  assert os.listdir(piece.parent) == []


def test_a_claim_is_released_when_the_work_fails(piece):
  with pytest.raises(RuntimeError):
    with claims.hold(piece):
      raise RuntimeError
  assert _hold(piece)


@pytest.mark.parametrize("age, held", [(0, True), (60, True), (200, False)])
def test_a_holder_elsewhere_is_dead_when_it_stops_touching(piece, age, held):
  _forge(piece, age=age)
  assert claims.alive(piece) == held
  assert _hold(piece) != held


def test_a_clock_that_was_set_back(piece):
  _forge(piece, age=-3600)
  assert _hold(piece)


def test_our_own_clock_plays_no_part(piece, monkeypatch):
  for wrong in (0.0, 4e9):
    monkeypatch.setattr(time, "time", lambda wrong=wrong: wrong)
    _forge(piece, age=60)
    assert not _hold(piece)
    _forge(piece, age=200)
    assert _hold(piece)


def test_a_claim_without_content_lives_until_it_is_stale(piece):
  """Its holder was stopped between making and writing it."""
  claim = _forge(piece)
  claim.write_text("")
  assert not _hold(piece)
  touched = claim.stat().st_mtime - 200
  os.utime(claim, (touched, touched))
  assert _hold(piece)


HOLD = """
import pathlib, sys, time
from informed_recon.storage import claims
with claims.hold(pathlib.Path(sys.argv[1])) as mine:
  print(mine, flush=True)
  time.sleep(60)
"""


def test_a_holder_killed_on_this_machine_is_dead_at_once(piece):
  child = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(piece)],
    **dict(cwd=ROOT, stdout=subprocess.PIPE, text=True),
  )
  assert child.stdout.readline() == "True\n"
  assert not _hold(piece)
  child.kill()
  while claims.alive(piece):  # even before its parent has looked
    time.sleep(0.01)
  assert child.returncode is None
  assert _hold(piece)
  child.communicate()


def test_a_process_of_the_same_number_is_not_the_holder(piece):
  me = claims._me()
  _forge(piece, **me)
  assert not _hold(piece)
  _forge(piece, **me | dict(started=me["started"] - 1))
  assert _hold(piece)


def test_of_many_successors_one_takes_over(piece):
  for _ in range(20):
    _forge(piece, age=200)
    holders, barrier = [], threading.Barrier(8)

    def take(barrier=barrier, holders=holders):
      barrier.wait()
      with claims.hold(piece) as mine:
        holders.append(mine)
        barrier.wait()  # nobody releases before all have tried

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert sorted(holders) == [False] * 7 + [True]


def test_a_successor_of_the_dead_keeps_others_out(piece):
  _forge(piece, number=0, age=200)
  _forge(piece, number=1)
  assert not _hold(piece) and claims.alive(piece)
  _forge(piece, number=1, age=200)
  assert _hold(piece)
  assert os.listdir(piece.parent) == []  # nor is anything left behind


def test_a_heartbeat_keeps_a_claim_alive(piece, monkeypatch):
  monkeypatch.setattr(claims, "HEARTBEAT", 0.02)
  with claims.hold(piece):
    claim = next(piece.parent.iterdir())
    os.utime(claim, (0, 0))
    end = time.monotonic() + 10
    while claim.stat().st_mtime == 0:
      assert time.monotonic() < end
      time.sleep(0.01)
    hearts = threading.active_count()
  while threading.active_count() == hearts:  # it stops with the work
    assert time.monotonic() < end
    time.sleep(0.01)
  assert os.listdir(piece.parent) == []


def _both(pieces, done):
  """Is piece i done, and which are not."""
  return done, lambda: [i for i in range(len(pieces)) if not done(i)]


def test_a_worker_alone_goes_in_order(tmp_path):
  pieces, done = [tmp_path / str(i) for i in range(9)], {3}
  seen = []
  for i in claims.each(pieces, *_both(pieces, done.__contains__)):
    seen.append(i)
    done.add(i)
  assert seen == [0, 1, 2, 4, 5, 6, 7, 8]
  seen, done = [], set()
  for i in claims.each(pieces, *_both(pieces, done.__contains__), first=6):
    seen.append(i)
    done.add(i)
  assert seen == [6, 7, 8, 0, 1, 2, 3, 4, 5]


def test_many_workers_do_everything_once(tmp_path, monkeypatch):
  monkeypatch.setattr(claims, "PAUSE", (0.01, 0.02))
  pieces = [tmp_path / str(i) for i in range(60)]
  _forge(pieces[7], age=200)  # one died before

  def done(i):
    return (tmp_path / f"done{i}").exists()

  counts = collections.Counter()

  def work():
    for i in claims.each(pieces, *_both(pieces, done)):
      time.sleep(0.002)
      counts[i] += 1
      (tmp_path / f"done{i}").touch()

  threads = [threading.Thread(target=work) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert counts == {i: 1 for i in range(60)}
  assert len(os.listdir(tmp_path)) == 60


def test_what_was_finished_before_we_held_it_is_not_done_again(tmp_path):
  """Its holder ended between our look and our claim."""
  looks = []

  def done(i):
    looks.append(i)
    return len(looks) > 1

  assert list(claims.each([tmp_path / "0"], done, lambda: [0])) == []
  assert len(looks) == 2


def test_a_worker_waits_for_what_others_hold(tmp_path, monkeypatch):
  """It leaves neither before it is done nor after somebody died over it."""
  monkeypatch.setattr(claims, "PAUSE", (0.01, 0.02))
  pieces, done, seen = [tmp_path / "0", tmp_path / "1"], set(), []
  claim = _forge(pieces[1])

  def work():
    for i in claims.each(pieces, *_both(pieces, done.__contains__)):
      seen.append(i)
      done.add(i)

  worker = threading.Thread(target=work)
  worker.start()
  time.sleep(0.2)
  assert worker.is_alive() and seen == [0]
  touched = claim.stat().st_mtime - 200
  os.utime(claim, (touched, touched))
  worker.join(timeout=10)
  assert seen == [0, 1]


def test_waiting_for_a_piece(piece, capsys, monkeypatch):
  monkeypatch.setattr(claims, "PAUSE", (0.01, 0.02))
  claim = _forge(piece, pid=77)
  waited = []

  def work():
    with claims.wait(piece):
      waited.append(claim.exists())

  worker = threading.Thread(target=work)
  worker.start()
  time.sleep(0.1)
  assert worker.is_alive() and waited == []
  claim.unlink()
  worker.join(timeout=10)
  assert waited == [True]  # by our own, of the same number
  assert capsys.readouterr().err.count("waiting for process 77 on other") == 1
