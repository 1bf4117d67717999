"""Which training records can be read out of your own model?

informed-recon audit --config=audit --workdir=runs/audit \
  --config.train=mine.py:train --config.data=mine.npz --config.minutes=10
"""

import pathlib

from absl import flags

from informed_recon import registry
from informed_recon.types import UserError

from . import app

_CONFIG = app.config_flag("what to audit, such as audit", "audit", "train")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the answer")

REQUIRED = ("config", "workdir")


def main(argv):
  del argv
  import jax

  from informed_recon import audit
  from informed_recon.data import npz

  config, folder = _CONFIG.value, pathlib.Path(_WORKDIR.value)
  given = npz.arrays(config.data, "--config.data")
  x, y = given["x"], given["y"]
  train = _function(config.train) if config.train else None
  asked = dict(
    records=_records(config.records),
    minutes=config.minutes,
    key=jax.random.key(config.seed),
    workdir=folder,
  )
  if config.released:
    found = audit.audit_released(config.released, x, y, train=train, **asked)
  elif train:
    found = audit.audit(train, x, y, key_known=config.key_known, **asked)
  else:
    raise UserError("give --config.train=FILE.py:FUNCTION")
  found.report(folder / "audit.html")
  found.to_csv(folder / "audit.csv")
  print(found.statement)
  print(f"\nreport: {folder / 'audit.html'}")


def _function(name: str):
  """The function `FILE.py:FUNCTION`."""
  path, _, function = name.rpartition(":")
  if not path.endswith(".py"):
    raise UserError(f"train must be FILE.py:FUNCTION, got {name!r}")
  module = registry.load_file(pathlib.Path(path), "train")
  if not hasattr(module, function):
    raise UserError(f"{path} has no function {function!r}")
  return getattr(module, function)


def _records(text: str) -> str | list[int]:
  """Indices such as "0,5,9", or the name of an order."""
  parts = [part.strip() for part in text.split(",")]
  return [int(p) for p in parts] if all(map(str.isdecimal, parts)) else text


if __name__ == "__main__":
  app.run(main, REQUIRED)
