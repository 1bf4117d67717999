"""The same parameters sooner: `program` is the one way in.

Full-batch training of a network with a dense first layer spends nearly all of
its operations in that layer. Three exact rewritings reach the parameters of
`training.mechanisms.none`, but for rounding:

* `transposed` evaluates the rest of the network with the records on the last
  axis, as products shared by many models come out;
* `first_layer` trains the first kernel in the form that costs least; the
  derivation is there;
* `relative_to_base` trains each model as its difference to one base run, which
  lets the shared products be of shorter numbers.
"""

from typing import Any, Protocol

import jax
import numpy as np

from informed_recon.models import Model
from informed_recon.training import optimizers
from informed_recon.training.fast import (
  first_layer,
  full_batch,
  relative_to_base,
  transposed,
)
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records


class Program(Protocol):
  """A run whose parameters have other coordinates while it trains.

  The optimiser moves the coordinates as it would move the parameters.
  """

  def enter(self, params, fixed: Records, target: Records) -> tuple[Any, Any]:
    """The initial coordinates, and what stays the same in all steps."""

  def gradient(self, trained: Any, given: Any, hparams: HParams) -> Any:
    """Of the objective, like the coordinates."""

  def leave(self, trained: Any, given: Any) -> Any:
    """The parameters that coordinates stand for."""


def program(
  model: Model, recipe: Recipe, n: int, lit: np.ndarray | None = None
) -> Program | None:
  """For n fixed records and a target; None where only the plain way is right.

  That is so for mini-batches, a privacy mechanism, an optimiser that looks at
  more than one parameter at a time, and a network that `transposed` cannot
  read. Shorter products want an optimiser linear in the gradient as well.

  Args:
    model: the architecture.
    recipe: what is static.
    n: number of fixed records.
    lit: (*shape) false where every fixed record is zero; None: not known.
  """
  traits = optimizers.traits(recipe.optimizer, recipe.optimizer_options)
  shorter = recipe.products != "float32"
  allowed = traits.linear if shorter else traits.elementwise
  if recipe.mechanism != "none" or recipe.batch_size or not allowed:
    return None
  network = transposed.read(model)
  if network is None:
    return None
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  d = jax.tree.leaves(shapes)[network.kernel].shape[0]
  lit = np.ones(d, bool) if lit is None else np.ravel(lit)
  forms = [first_layer.Dense(lit)]
  if traits.linear:
    forms.append(first_layer.Span())
  form = min(forms, key=lambda f: f.operations(n, d, recipe.steps))
  plain = full_batch.FullBatch(network, form, n, jax.tree.structure(shapes))
  if not shorter:
    return plain
  return relative_to_base.RelativeToBase(plain, recipe.products)
