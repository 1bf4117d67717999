"""What a choice in a config brings with it: the options of what it names.

`--config.model.name=linear` names another architecture, so the options of the
one before mean nothing; the new one's defaults take their place, and further
overrides apply to those.
"""

import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from informed_recon import data, models
from informed_recon.attacks.reconstructor import networks
from informed_recon.training import mechanisms, optimizers

# Dotted path of a choice -> key of its options beside it, and their defaults.
CHOICES = {
  r"data\.source": ("options", data.defaults),
  r"model\.name": ("options", models.defaults),
  r"evaluation\.classifier\.name": ("options", models.defaults),
  r"training\.optimizer": ("optimizer_options", optimizers.defaults),
  r"training\.privacy\.mechanism": ("options", mechanisms.defaults),
  r"reconstructors\.\w+\.network": ("options", networks.defaults),
  r"reconstructors\.\w+\.optimizer": (
    "optimizer_options",
    optimizers.defaults,
  ),
}


def choose(config: ConfigDict, changes: Mapping[str, Any]) -> None:
  """Gives every choice among `changes` that differs from the config's the
  default options of what it names; sets nothing else.

  Args:
    config: not locked; changed in place.
    changes: dotted path -> value, the overrides that will follow.

  Raises:
    UserError: a name that nothing has.
  """
  for path, value in changes.items():
    for pattern, (key, defaults) in CHOICES.items():
      group, _, last = path.rpartition(".")
      if not re.fullmatch(pattern, path):
        continue
      place = config
      for part in group.split("."):
        place = place.get(part, None) if isinstance(place, ConfigDict) else None
      if place is not None and place.get(last, value) != value:
        place[key] = ConfigDict(defaults(value))
