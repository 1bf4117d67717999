"""A user's training function, and what can be done with it."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.audit.frame import Frame
from informed_recon.types import Records, UserError

# (key, x, y) or (key, x, y, weight) -> parameters, a pytree
Train = Callable[..., Any]
MOST_EQUATIONS = 4000  # of a traced program; compiling more takes minutes
BLOCK = 8  # trainings side by side


class Training(NamedTuple):
  """A training function with everything known but one record."""

  theta: np.ndarray  # (P,) the release
  # (seeds, x (B, n, ...), y (B, n, ...)) -> (B, P): a model each, of the key
  # that belongs to the seed
  many: Callable[[Any, Any, Any], np.ndarray]
  simulate: Callable | None  # (fixed, target, index) -> (P,), traceable
  without: Callable | None = None  # (fixed, index) -> (P,), its weight being 0
  why: str = ""  # there is no `simulate`
  note: str = ""  # what the statement should say of the function
  secret: bool = False  # the adversary does not know the key
  block: int = BLOCK  # models that `many` is given at a time

  @property
  def kind(self) -> str:
    """What answers about a release depend on, beside the release."""
    return f"secret={self.secret} weights={self.without is not None}"


def vector(params: Any) -> jax.Array:
  """All real parameters of a pytree as (P,) float32; counters are left out."""
  leaves = jax.tree.leaves(params)
  if not all(isinstance(a, jax.Array) for a in leaves):
    leaves = [a if isinstance(a, jax.Array) else _array(a) for a in leaves]
  real = [
    jnp.ravel(a).astype(jnp.float32)
    for a in leaves
    if jnp.issubdtype(a.dtype, jnp.floating)
  ]
  if not real:
    raise UserError(
      "train returned no real parameters; return a pytree of them"
    )
  return jnp.concatenate(real)


def _array(leaf) -> np.ndarray:
  if hasattr(leaf, "detach"):  # a tensor of torch
    leaf = leaf.detach().cpu()
  a = np.asarray(leaf)
  if a.dtype.kind not in "fiub":
    raise UserError(
      f"train returned a {type(leaf).__name__}; it must return its parameters "
      "as a pytree of arrays"
    )
  return a


def weighted(train: Train) -> bool:
  """Whether a function is train(key, x, y, weight): it has a parameter of that
  name, or wants four arguments."""
  try:
    parameters = inspect.signature(train).parameters.values()
  except (TypeError, ValueError):  # of some callables nothing is known
    return False
  wanted = [p for p in parameters if p.default is p.empty and p.kind < 2]
  named = {p.name for p in parameters} & {"weight", "weights"}
  return bool(named) or len(wanted) == 4


def released(train: Train, key: Any, x, y, weight=None) -> Any:
  """What a training function returns, weights of 1 where it wants them."""
  if not weighted(train):
    return train(key, x, y)
  weight = np.ones(len(x), np.float32) if weight is None else weight
  return train(key, x, y, weight)


def another(key: Any, seed: int) -> Any:
  """A key that the adversary draws in place of a secret one.

  Raises:
    UserError: a key of no kind that can be drawn.
  """
  if isinstance(key, (int, np.integer)):
    return int(key) + 1 + seed
  if isinstance(key, jax.Array):
    return jax.random.fold_in(key, seed)
  raise UserError(
    f"key_known=False wants a key of jax or an integer, got {type(key)}: "
    "another one cannot be drawn"
  )


def prepare(
  train: Train, key: Any, x, y, frame: Frame, key_known: bool = True
) -> Training:
  """Trains once, and finds out whether training can be traced.

  Args:
    train: (key, x, y) -> parameters, or (key, x, y, weight) with a weight for
      each record; those of the release are 1.
    key: of the release.
    x: all records.
    y: all labels.
    frame: of the records.
    key_known: to the adversary; otherwise it simulates with keys of its own.

  Raises:
    UserError: train fails on its own records.
  """

  def call(key, x, y, weight=None):
    return vector(released(train, key, x, y, weight))

  call, theta = _called(call, key, x, y)
  if not np.isfinite(theta).all():
    raise UserError("train ended at parameters that are not finite")
  own = key if key_known else another(key, 0)

  def drawn(seed: int):
    return key if key_known else another(key, 1 + seed)

  def one_by_one(seeds, x, y) -> np.ndarray:
    rows = zip(seeds, x, y)
    return np.stack([np.asarray(call(drawn(s), a, b)) for s, a, b in rows])

  def simulate(fixed: Records, target: Records, index):
    record, label = frame.unpack(target.x, target.y)
    return call(
      own,
      fixed.x.at[index].set(record.astype(fixed.x.dtype)),
      fixed.y.at[index].set(jnp.asarray(label).astype(fixed.y.dtype)),
    )

  def without(fixed: Records, index):
    return call(own, *fixed, jnp.ones(len(fixed.x)).at[index].set(0.0))

  fixed, example = floats(x, y), Records(frame.pack(x[:1], y[:1])[0], y[0])
  why, vmapped = _obstacle(simulate, fixed, example)
  if not vmapped:
    return Training(
      theta, one_by_one, None, why=why, secret=not key_known, block=1
    )

  @jax.jit
  def side_by_side(keys, x, y):
    def one(given):
      return call(key if key_known else given[0], *given[1:])

    return jax.lax.map(one, (keys, x, y), batch_size=BLOCK)

  def many(seeds, x, y) -> np.ndarray:
    # A key that is known may be anything, and is no argument of the program.
    keys = np.zeros(len(x))
    if not key_known:
      keys = jnp.stack([jnp.asarray(drawn(s)) for s in seeds])
    return np.asarray(side_by_side(keys, jnp.asarray(x), jnp.asarray(y)))

  return Training(
    theta,
    many,
    None if why else simulate,
    without if weighted(train) and not why else None,
    why,
    _key_note(call, own, fixed),
    not key_known,
  )


def _called(call: Callable, key, x, y) -> tuple[Callable, np.ndarray]:
  """The function that trains, on arrays of NumPy or of jax, and the release."""

  def of_jax(key, x, y, weight=None):
    return call(key, jnp.asarray(x), jnp.asarray(y), weight)

  try:
    return call, np.asarray(call(key, x, y))
  except UserError:
    raise
  except Exception as error:  # whatever a user's code may raise
    try:
      return of_jax, np.asarray(of_jax(key, x, y))
    except Exception:
      raise UserError(
        f"train failed on its own records: {line(error)}"
      ) from error


def _obstacle(simulate, fixed: Records, example: Records) -> tuple[str, bool]:
  """Why training cannot be simulated, empty where it can, and whether many
  trainings can be run side by side."""

  def end(u, label, index):
    return simulate(fixed, Records(u, label), index)

  def back(u, label, index):
    theta, pull = jax.vjp(lambda u: end(u, label, index), u)
    return pull(theta)

  given = example.x, example.y, np.int32(0)
  try:
    size = equations(jax.make_jaxpr(end)(*given).jaxpr)
  except Exception as error:  # here and below: whatever a user's code may raise
    return f"it cannot be traced ({line(error)})", False
  if size > MOST_EQUATIONS:
    why = (
      f"its traced program has {size} operations, minutes of compiling; write "
      "its loop as jax.lax.scan or fori_loop"
    )
    return why, False
  try:
    two = jax.tree.map(lambda a: np.stack([a, a]), given)
    jax.eval_shape(jax.vmap(end), *two)
  except Exception as error:
    return f"it cannot be vmapped ({line(error)})", False
  try:
    jax.eval_shape(back, *given)
  except Exception as error:
    return f"it cannot be differentiated ({line(error)})", True
  return "", True


def _key_note(call, key, fixed: Records) -> str:
  """What is to be said of a function that makes no use of its key."""
  if not isinstance(key, jax.Array):
    return ""
  program = jax.make_jaxpr(call)(key, *fixed).jaxpr
  used = {id(v) for e in program.eqns for v in e.invars}
  if id(program.invars[0]) in used:
    return ""
  return (
    "train makes no use of its key: what it draws is the same in every run, "
    "and known to whoever has the function."
  )


def floats(x: np.ndarray, y: np.ndarray) -> Records:
  """Records that can be differentiated in x, and in a real y."""
  x = x if x.dtype.kind == "f" else x.astype(np.float32)
  return Records(jnp.asarray(x), jnp.asarray(y))


def equations(jaxpr) -> int:
  """Operations of a program, those of its parts included."""
  total = 0
  for equation in jaxpr.eqns:
    total += 1
    for value in jax.tree.leaves(
      equation.params,
      is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr"),
    ):
      inner = getattr(value, "jaxpr", value)
      total += equations(inner) if hasattr(inner, "eqns") else 0
  return total


def line(error: Exception) -> str:
  """An error of a user's code on one line."""
  text = str(error).strip().splitlines()
  return f"{type(error).__name__}: {text[0] if text else ''}"[:200]
