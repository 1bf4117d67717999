"""Which of the batches that have the same gradient it was.

The records' responses are y_i = f(x_i) - B r_i. Where σ is odd, (x, y) and
(-x, -y) have the same gradient, where it is even (-x, y); where σ is positively
homogeneous (ReLU), so have (c x, r / c) for every c > 0. What responses and
features a record can have settles which it was, or the answer says that nothing
did.
"""

import jax.numpy as jnp
import numpy as np

NEAR = 1e-5  # how near a response is to its label, a feature to its bounds


def settle(activation, x, f, error, labels, bounds):
  """Of all records with the gradient of x (B, d), the one that can be, each.

  Args:
    activation: σ.
    x: (B, d) records.
    f: (B,) the network's output for them.
    error: (B,) f - y.
    labels: all responses that a record can have, or None.
    bounds: of the features, or None.

  Returns:
    (x, y, message).
  """
  probe = np.linspace(-3, 3, 31)
  value = np.asarray(activation(jnp.asarray(probe)))
  twice = np.asarray(activation(jnp.asarray(2 * probe)))
  odd = np.allclose(value, -value[::-1], atol=1e-12)
  even = np.allclose(value, value[::-1], atol=1e-12)
  homogeneous = np.allclose(twice, 2 * value, atol=1e-12)
  if homogeneous and labels is None:
    return (
      x,
      f - error,
      "the activation is positively homogeneous: a gradient does not tell how "
      "long a record is; give labels, all responses that a record can have",
    )
  xs, ys, unsettled = [], [], 0
  for x_i, f_i, e_i in zip(x, f, error):
    scales = [1.0]
    if homogeneous:  # c x has output c f and f - y = e / c
      roots = [np.roots([f_i, -label, -e_i]) for label in labels]
      roots = np.concatenate(roots)
      scales = [c.real for c in roots if c.real > 0 and abs(c.imag) < 1e-9]
    same = [(c * x_i, c * f_i - e_i / c) for c in scales]
    found = [*same]
    if odd or even:
      found += [(-x, -y if odd else y) for x, y in same]
    possible = [c for c in found if _possible(*c, labels, bounds)]
    unsettled += len(possible) != 1
    best = (possible or found or [(x_i, f_i - e_i)])[0]
    xs.append(best[0])
    ys.append(best[1])
  message = (
    f"{unsettled} of {len(x)} records have no or several answers with this "
    "gradient; narrower labels or bounds would tell"
    if unsettled
    else ""
  )
  return np.stack(xs), np.stack(ys), message


def _possible(x, y, labels, bounds) -> bool:
  if labels is not None and np.abs(np.asarray(labels) - y).min() > NEAR:
    return False
  if bounds is None:
    return True
  slack = NEAR * (bounds[1] - bounds[0])
  return bool(bounds[0] - slack <= x.min() and x.max() <= bounds[1] + slack)
