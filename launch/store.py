"""Looks after the stores of models in a run, a sweep or a folder of its own.

informed-recon store verify|repair|stats DIR
"""

import pathlib
import sys

from informed_recon.types import UserError

from . import app

POSITIONAL = True
USAGE = "usage: informed-recon store verify|repair|stats DIR"


def main(argv):
  from informed_recon.storage import repair

  if len(argv) != 3 or argv[1] not in ("verify", "repair", "stats"):
    raise UserError(USAGE)
  directory = pathlib.Path(argv[2])
  if argv[1] == "stats":
    for store in repair.stores(directory):
      print(store)
      for key, value in repair.stats(store).items():
        print(f"  {key}: {value}")
    return
  bad = False
  for store in repair.stores(directory):
    found = getattr(repair, argv[1])(store)
    counts = (f"{len(paths)} {name}" for name, paths in found._asdict().items())
    print(f"{store}: {', '.join(counts)}")
    for chunk in found.damaged:
      print(f"  damaged: {chunk.path.name}")
    bad = bad or bool(found.damaged)
  if bad and argv[1] == "verify":
    print(f"mend with: informed-recon store repair {directory}")
  if bad and argv[1] == "repair":
    print("removed; run the same experiment again to train what is missing")
  sys.exit(bad and argv[1] == "verify")


if __name__ == "__main__":
  app.run(main, positional=POSITIONAL)
