"""Who does which piece of work, among processes that share a file system.

To claim a piece is to create the file `.NAME.claim0` that must not exist yet;
its holder touches it every `HEARTBEAT` seconds. A holder is dead when it ran on
this machine and its process is gone, or when its claim was not touched for
`STALE` seconds by the file system's own clock (no machine's clock plays a part,
so none has to be right). The claim of a dead holder is never removed by others:
its successor creates the next number, and only one can. The holder of the
highest number has the piece.

A claim saves work, it protects nothing: a holder that slept long enough to be
taken for dead wakes up and goes on beside its successor. What is done under a
claim must therefore be safe to do twice (written atomically, the same bytes).
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

HEARTBEAT = 10.0  # seconds
STALE = 120.0  # seconds; an NFS client may show times that are a minute old
PAUSE = 0.5, 30.0  # seconds between two looks when all is taken: first, longest
LOOKS = 32  # pieces of others, in a row, before a pause or a new list


@contextlib.contextmanager
def hold(piece: pathlib.Path) -> Iterator[bool]:
  """Tries to claim a piece for the duration of the block.

  Args:
    piece: any path in a folder that exists; claims lie beside it.

  Yields:
    Whether the piece is ours.
  """
  number = _acquire(piece)
  if number is None:
    yield False
    return
  over = threading.Event()
  args = (_claim(piece, number), over)
  threading.Thread(target=_beat, args=args, daemon=True).start()
  try:
    yield True
  finally:
    over.set()
    # From the top, so that no number is free below one that is taken.
    for below in reversed(range(number + 1)):
      _claim(piece, below).unlink(missing_ok=True)


@contextlib.contextmanager
def wait(piece: pathlib.Path) -> Iterator[None]:
  """Claims a piece, however long its holder takes."""
  told = False
  while True:
    with hold(piece) as mine:
      if mine:
        yield
        return
    if not told:
      print(f"waiting for {holder(piece)}, at work here", file=sys.stderr)
    told = True
    time.sleep(PAUSE[0])


def alive(piece: pathlib.Path) -> bool:
  """Whether a living process holds the piece."""
  for number in itertools.count():
    claim = _claim(piece, number)
    if not claim.exists():
      return False
    if _alive(claim):
      return True


def forgotten(path: pathlib.Path) -> bool:
  """Whether a file was not touched for so long that its writer is gone."""
  try:
    return abs(_now(path.parent) - path.stat().st_mtime) >= STALE
  except FileNotFoundError:
    return False


def holder(piece: pathlib.Path) -> str:
  """Who holds or held the piece last, for people."""
  who = "nobody"
  for number in itertools.count():
    try:
      found = _read(_claim(piece, number))[0]
    except FileNotFoundError:
      return who
    who = f"process {found.get('pid')} on {found.get('host')}"


def each(
  pieces: Sequence[pathlib.Path],
  done: Callable[[int], bool],
  undone: Callable[[], Sequence[int]],
  first: int = 0,
) -> Iterator[int]:
  """Yields the pieces that fall to us, each under its claim, until all are
  done by whomever.

  One worker goes through them in order. One that meets another's work jumps to
  a random piece and goes on from there, so that a thousand workers spread out
  and each asks for few pieces that are not its own; one that finds all taken
  waits, and takes over what the dead leave.

  Args:
    pieces: paths to claim.
    done: whether piece i is finished; asked again once we hold it.
    undone: the pieces that are not, in order; asked seldom.
    first: piece to begin with.
  """
  left = collections.deque(undone())
  left.rotate(-sum(i < first for i in left))
  met = _Met()
  while left:
    i = left.popleft()
    if done(i):
      met.finished += 1
    else:
      with hold(pieces[i]) as mine:
        if mine and not done(i):
          yield i
      if mine:
        met = _Met()
        continue
      left.append(i)
      met.taken += 1
    if met.finished + met.taken >= min(len(left), met.looks):
      if met.finished:
        left = collections.deque(undone())
      else:
        met.wait()
      met.finished = met.taken = 0
    left.rotate(-random.randrange(len(left) or 1))


@dataclasses.dataclass
class _Met:
  """What a worker met since it last had a piece of its own."""

  finished: int = 0  # pieces found done, since the last list or pause
  taken: int = 0  # pieces found claimed by others, likewise
  looks: int = LOOKS  # pieces to look at before the next list or pause
  pause: float = dataclasses.field(default_factory=lambda: PAUSE[0])  # seconds

  def wait(self) -> None:
    """Pauses; nothing is free, so then asks less, and less often."""
    time.sleep(self.pause * random.uniform(0.5, 1.5))
    self.looks = max(self.looks // 2, 1)
    self.pause = min(2 * self.pause, PAUSE[1])


def _claim(piece: pathlib.Path, number: int) -> pathlib.Path:
  return piece.with_name(f".{piece.name}.claim{number}")


def _acquire(piece: pathlib.Path) -> int | None:
  for number in itertools.count():
    claim = _claim(piece, number)
    try:
      file = open(claim, "x")
    except FileExistsError:
      if _alive(claim):
        return None
      continue
    try:
      with file:
        json.dump(_me(), file)
    except OSError:  # the disk is full
      claim.unlink(missing_ok=True)
      raise
    return number


def _beat(claim: pathlib.Path, over: threading.Event) -> None:
  while not over.wait(HEARTBEAT):
    with contextlib.suppress(OSError):  # gone, or the disk away for a moment
      os.utime(claim)  # to the file system's present, not to ours


def _read(claim: pathlib.Path) -> tuple[dict, float]:
  """Who holds it, and when it was touched; opened, for NFS to look again."""
  with open(claim) as file:
    try:
      who = json.load(file)
    except ValueError:
      who = {}  # being written
    return who, os.fstat(file.fileno()).st_mtime


def _alive(claim: pathlib.Path) -> bool:
  try:
    who, touched = _read(claim)
  except FileNotFoundError:
    return True  # just released: no successor is needed
  if (
    who and who["where"] == _where() and _started(who["pid"]) != who["started"]
  ):
    return False
  # Either sign: a time far ahead was given before the clock was set back.
  return abs(_now(claim.parent) - touched) < STALE


def _now(directory: pathlib.Path) -> float:
  """The file system's time, asked anew every few seconds."""
  return time.monotonic() + _offset(directory, int(time.monotonic() / 10))


@functools.lru_cache(maxsize=16)
def _offset(directory: pathlib.Path, period: int) -> float:
  del period
  with tempfile.TemporaryFile(dir=directory) as file:
    return os.fstat(file.fileno()).st_mtime - time.monotonic()


def _me() -> dict:
  pid = os.getpid()
  me = dict(host=socket.gethostname(), where=_where(), pid=pid)
  return me | dict(started=_started(pid))


@functools.cache
def _where() -> str:
  """This boot of this machine, and what its process ids mean; a host name is
  neither. Where that cannot be told, nobody else is there."""
  try:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"
  except OSError:
    return f"unknown {random.random()}"


def _started(pid: int) -> int | None:
  """When a process of this machine was started, in ticks; None: it is gone."""
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return None
  state, *rest = stat.rpartition(")")[2].split()  # a name may hold anything
  return None if state in "ZX" else int(rest[18])
