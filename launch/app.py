"""What all launchers share: what a user can mend is one line, exit code 2."""

import errno
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from informed_recon.types import UserError

QUOTES = "\"'"  # KeyError shows its message quoted
FORCE = flags.DEFINE_bool(
  "force", False, "take a store of models that was made otherwise"
)
_DEBUG = flags.DEFINE_bool("debug", False, "show the traceback of an error")


def run(
  main: Callable[[Sequence[str]], None], required: Sequence[str] = ()
) -> None:
  """`absl.app.run`, with user errors as one line on stderr and exit code 2.

  `required` names flags that must be given; absl's own marks would hold for
  every launcher that a process imports.
  """
  # Libraries log every checkpoint at INFO, in the midst of the progress bars.
  logging.set_verbosity(logging.WARNING)
  app.run(
    lambda argv: _guard(main, argv),
    flags_parser=lambda argv: _parse(argv, required),
  )


def _parse(argv: Sequence[str], required: Sequence[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:  # a locked ConfigDict says so
    _stop(
      f"no such key in the config: {_last_line(error).strip(QUOTES)}; "
      "configs/default.py lists the keys"
    )
  except (flags.Error, TypeError, ValueError) as error:
    _stop(_last_line(error))
  missing = [name for name in required if not flags.FLAGS[name].present]
  if missing:
    _stop(f"flag --{missing[0]} must be given")
  return rest


def _guard(main: Callable, argv: Sequence[str]) -> None:
  try:
    main(argv)
  except UserError as error:
    if _DEBUG.value:
      raise
    _stop(str(error))
  except OSError as error:
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
