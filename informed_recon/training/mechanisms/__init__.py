"""What training shows of its records, one file a mechanism.

A file exports
- `make(model, recipe) -> gradient`, where
  `gradient(keys, step, params, fixed, target, hparams)` is what one step of
  training gets to see of the gradient of mean loss and penalty, a pytree like
  `params`; `target` is None for the base model;
- `statement(privacy, steps) -> dict`: what that guarantees, for results.json,
  from the settings in `config.training.privacy`; they are checked here;
- optionally `OPTIONS`, the defaults of settings of its own, which lie in
  `config.training.privacy.options`.
"""

from collections.abc import Mapping
from typing import Any

from informed_recon import registry
from informed_recon.types import UserError

EXPORTS = ("make", "statement")


def defaults(name: str) -> dict[str, Any]:
  """A mechanism's own settings, with their defaults.

  Raises:
    UserError: unknown name.
  """
  found = registry.find("training.mechanisms", name)
  return dict(getattr(found, "OPTIONS", {}))


def read_options(
  given: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any]:
  """A mechanism's options: `training.privacy.options` over its defaults.

  Raises:
    UserError: an option that it does not have.
  """
  unknown = sorted(set(given) - set(known))
  if unknown:
    raise UserError(
      f"unknown training.privacy.options {unknown}; known: {', '.join(known)}"
    )
  return dict(known) | dict(given)
