"""What training shows of its records, one file a mechanism.

A file exports
- `make(model, recipe) -> gradient`, where
  `gradient(keys, step, params, fixed, target, hparams)` is what one step of
  training gets to see of the gradient of mean loss and penalty, a pytree like
  `params`; `target` is None for the base model;
- `statement(privacy, steps) -> dict`: what that guarantees, for results.json,
  from the settings in `config.training.privacy`; they are checked here.
"""

EXPORTS = ("make", "statement")
