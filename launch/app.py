"""What all launchers share: what a user can mend is one line, exit code 2."""

import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from informed_recon.types import UserError

CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
QUOTES = "\"'"  # KeyError shows its message quoted
FORCE = flags.DEFINE_bool(
  "force", False, "take a store of models that was made otherwise"
)
_DEBUG = flags.DEFINE_bool("debug", False, "show the traceback of an error")


def run(
  main: Callable[[Sequence[str]], None],
  required: Sequence[str] = (),
  *,
  positional: bool = False,
) -> None:
  """`absl.app.run`, with user errors as one line on stderr and exit code 2.

  `required` names flags that must be given; absl's own marks would hold for
  every launcher that a process imports. Arguments without a flag are refused
  unless `positional`.
  """
  # Libraries log every checkpoint at INFO, in the midst of the progress bars.
  logging.set_verbosity(logging.WARNING)
  app.run(
    lambda argv: _guard(main, argv),
    flags_parser=lambda argv: _parse(argv, required, positional),
  )


def _parse(
  argv: Sequence[str], required: Sequence[str], positional: bool
) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:  # a locked ConfigDict says so
    # It quotes a KeyError, whose quotes and line ends are then spelled out.
    said = str(error).strip(QUOTES).replace(r"\'", "'").replace(r"\n", ". ")
    _stop(
      f"no such key in the config: {said.rstrip('?')}; configs/default.py "
      "lists the keys"
    )
  except (flags.Error, TypeError, ValueError) as error:
    _stop(_last_line(error))
  for name in required:
    given = [a for a in argv[1:] if re.match(f"--?{name}(=|$)", a)]
    if not flags.FLAGS[name].present or given == [f"--{name}="]:
      _stop(f"flag --{name} must be given")
    if len(given) > 1:
      _stop(f"flag --{name} is given {len(given)} times; give it once")
  if rest[1:] and not positional:
    _stop(
      f"do not know what to do with {rest[1]!r}; settings are given as "
      "--config.NAME=VALUE"
    )
  return rest


def _guard(main: Callable, argv: Sequence[str]) -> None:
  try:
    main(argv)
  except UserError as error:
    if _DEBUG.value:
      raise
    _stop(str(error))
  except KeyboardInterrupt:
    if _DEBUG.value:
      raise
    print(
      "\ninterrupted; the same command goes on where it was", file=sys.stderr
    )
    # Ended by the signal, as whoever started this process expects.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
  except OSError as error:
    if error.errno in CLOSED and not _DEBUG.value:
      _stop(f"cannot write {error.filename}: {error.strerror}")
    if error.errno is None:  # ml_collections, on first use of the config
      _stop(f"cannot load the config file: {_last_line(error)}")
    if _DEBUG.value or error.errno not in (errno.ENOSPC, errno.EDQUOT):
      raise
    _stop(
      f"no space left on the device ({error.filename or 'working directory'}); "
      "make room and run the same command again: it resumes"
    )


def _last_line(error: Exception) -> str:
  """The point of a message that may carry a whole traceback."""
  return str(error).strip().splitlines()[-1].strip()


def _stop(text: str) -> None:
  print(f"error: {' '.join(text.split())}", file=sys.stderr)
  sys.exit(2)
