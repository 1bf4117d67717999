"""What all commands share: the config, help, and errors of one line."""

import errno
import os
import pathlib
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import config_flags as parsing

import informed_recon
from informed_recon import allocator, configs
from informed_recon.types import UserError

CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
QUOTES = "\"'"  # KeyError shows its message quoted
FORCE = flags.DEFINE_bool(
  "force", False, "take a store of models that was made otherwise"
)
_DEBUG = flags.DEFINE_bool("debug", False, "show the traceback of an error")
ABOUT_CONFIGS = """\
configs:
  --config=NAME[:ARG]          one that comes with informed_recon:
{names}
  --config=path/to/FILE.py[:ARG]    a file of yours with get_config(arg)
  --config.path=value          changes one setting, such as
                               --config.training.steps=200
                               --config.model.name=linear
                               --config.perf.data_dir=/data/tfds
  NAME:quick is a form of seconds that shows only that it runs. The settings of
  NAME with their meaning: {file}"""


class _Parser(parsing.ConfigFileFlagParser):
  """Also finds configs by name, and lets a choice bring its own options."""

  keys = "default"  # the config that lists the keys which the command reads
  mark = "stages"  # the one that configs of other commands do not have

  def parse(self, path: str) -> ConfigDict:
    name, colon, argument = path.partition(":")
    config = super().parse(config_file(name) + colon + argument)
    if isinstance(config, ConfigDict) and self.mark not in config:
      raise ValueError(
        f"{path} is no config of this command, it has no {self.mark!r}; give "
        f"--config={self.keys} or a file with the keys of "
        f"configs/{self.keys}.py"
      )
    changes = _changes(sys.argv)
    if isinstance(config, ConfigDict) and changes:
      from informed_recon import choices  # imports jax

      with config.unlocked():
        choices.choose(config, changes)
    return config


def config_flag(
  text: str, keys: str = _Parser.keys, mark: str = _Parser.mark
) -> flags.FlagHolder:
  """Defines `--config`, with its overrides `--config.path=value`.

  Args:
    text: for the help.
    keys: name of the config that lists the keys.
    mark: key that every config of the command has, and those of others lack.
  """
  holder = config_flags.DEFINE_config_file("config", None, text)
  flags.FLAGS["config"].parser = parser = _Parser("config")
  parser.keys, parser.mark = keys, mark
  return holder


def config_names() -> list[str]:
  """The configs that come with the package."""
  folder = pathlib.Path(configs.__path__[0])
  return sorted(p.stem for p in folder.glob("*.py") if p.stem[0] != "_")


def config_file(name: str) -> str:
  """File of a config that is given by name or by file."""
  if name in config_names():
    return str(pathlib.Path(configs.__path__[0]) / f"{name}.py")
  if not name.endswith(".py") and not pathlib.Path(name).is_file():
    raise ValueError(
      f"unknown config {name!r}; give a file or one of "
      f"{', '.join(config_names())}"
    )
  return name


def _changes(argv: Sequence[str]) -> dict[str, str]:
  """Dotted path -> text of each override on the command line."""
  found = {}
  for argument, after in zip(argv, [*argv[1:], ""]):
    if match := re.match(r"--?config\.([^=]+)(=(.*))?$", argument, re.S):
      found[match[1]] = after if match[2] is None else match[3]
  return found


def keep_programs() -> None:
  """Compiled programs are kept for the next run, in the user's cache folder.

  Not in the workdir: a sweep's points share them, and a program is found by
  its file's name alone, so that a file there is not to be handed round.
  JAX_COMPILATION_CACHE_DIR names another folder; empty, nothing is kept.
  """
  if "JAX_COMPILATION_CACHE_DIR" in os.environ:
    return
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  folder = pathlib.Path(home).expanduser() / "informed_recon" / "programs"
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError:  # no place to keep anything
    return
  # The dozens of programs of a run that take less than a second, too.
  least = os.environ.setdefault(
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1"
  )
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
  if "jax" in sys.modules:  # which has read its environment
    jax = sys.modules["jax"]
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update(
      "jax_persistent_cache_min_compile_time_secs", float(least)
    )


def _space_progress() -> None:
  """Progress bars write to a log twice a minute, not ten times a second."""
  if not sys.stderr.isatty():
    for name in ("TQDM_MININTERVAL", "TQDM_MAXINTERVAL"):
      os.environ.setdefault(name, "30")  # read when tqdm is imported


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
  if {"--help", "-h", "--helpfull", "-?"} & set(sys.argv[1:]):
    print(_help(main, required))
    return
  if "--version" in sys.argv[1:]:
    print(f"informed_recon {informed_recon.__version__}")
    return
  allocator.keep_freed_memory()
  keep_programs()
  _space_progress()
  # Libraries log every checkpoint at INFO, in the midst of the progress bars.
  logging.set_verbosity(logging.WARNING)
  app.run(
    lambda argv: _guard(main, argv),
    flags_parser=lambda argv: _parse(argv, required, positional),
  )


def _help(main: Callable, required: Sequence[str]) -> str:
  """What a command does, its flags, and how configs are given."""
  module = sys.modules[main.__module__]
  lines = [module.__doc__.strip(), "", "flags:"]
  known = [
    *flags.FLAGS.get_key_flags_for_module(module),
    *flags.FLAGS.get_key_flags_for_module(sys.modules[__name__]),
  ]
  for flag in sorted(known, key=lambda flag: flag.name not in required):
    default = "" if flag.value in (None, []) else f" [{flag.value}]"
    must = " (must be given)" if flag.name in required else default
    lines.append(f"  --{flag.name.ljust(14)} {flag.help}{must}")
  if "config" in required:
    indent = " " * 31
    names = textwrap.fill(
      ", ".join(config_names()),
      **dict(initial_indent=indent, subsequent_indent=indent),
    )
    file = config_file(flags.FLAGS["config"].parser.keys)
    lines += ["", ABOUT_CONFIGS.format(names=names, file=file)]
  return "\n".join(lines)


def _parse(
  argv: Sequence[str], required: Sequence[str], positional: bool
) -> list[str]:
  given = {
    name: [a for a in argv[1:] if re.match(f"--?{name}(=|$)", a)]
    for name in required
  }
  for name, arguments in given.items():
    if len(arguments) > 1:
      _stop(f"flag --{name} is given {len(arguments)} times; give it once")
  try:
    rest = flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:  # a locked ConfigDict says so
    # It quotes a KeyError, whose quotes and line ends are then spelled out.
    said = str(error).strip(QUOTES).replace(r"\'", "'").replace(r"\n", ". ")
    _stop(
      f"no such key in the config: {said.rstrip('?')}; "
      f"configs/{flags.FLAGS['config'].parser.keys}.py lists the keys"
    )
  except (flags.Error, TypeError, ValueError) as error:
    _stop(_last_line(error))
  for name, arguments in given.items():
    if not flags.FLAGS[name].present or arguments == [f"--{name}="]:
      _stop(f"flag --{name} must be given")
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
  """The point of a message that may carry a whole traceback, whose last line
  begins with the error's type."""
  line = str(error).strip().splitlines()[-1].strip()
  return re.sub(r"^(\w+\.)*\w+Error: ", "", line)


def _stop(text: str) -> None:
  print(f"error: {' '.join(text.split())}", file=sys.stderr)
  sys.exit(2)
