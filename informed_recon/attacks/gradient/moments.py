"""Directions of a batch's records out of the moments of its gradient.

With w_j ~ N(0, I) and g_j = ∂L/∂a_j = Σ_i r_i σ(w_j·x_i), Stein's identity
gives

  (1/m) Σ_j g_j He_k(w_j)  ->  Σ_i r_i E[σ^(k)(w·x_i)] x_i^{⊗k},

He_k the Hermite tensors, at the rate m^(-1/2) (Wang, Lee, Lei 2023). The third
moment (or, where E[σ He_3] = 0, the fourth), contracted with random vectors, is
a matrix that the records diagonalise; two of them do it together (Jennrich's
algorithm, Harshman 1970). No tensor of d³ numbers is formed.
"""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

from informed_recon.types import UserError

HERMITE_NODES = 64  # of the quadrature that computes E[σ He_k]
FLAT = 1e-3  # |E[σ He_k]| below which order k says nothing


def coefficient(activation: Callable, order: int) -> float:
  """E[σ(Z) He_k(Z)], Z ~ N(0, 1): what order k of the moments can see."""
  z, weight = np.polynomial.hermite_e.hermegauss(HERMITE_NODES)
  he = np.polynomial.hermite_e.hermeval(z, [0] * order + [1])
  values = np.asarray(activation(jnp.asarray(z)), float)
  return float(np.sum(weight * values * he) / np.sqrt(2 * np.pi))


def third(g, w, u) -> np.ndarray:
  """(1/m) Σ_j g_j He_3(w_j)[·, ·, u], (b, b), from g (m,) and w (m, b)."""
  along, mean = w @ u, w.T @ g / len(g)
  moment = (w * (g * along)[:, None]).T @ w / len(g)
  return moment - mean @ u * np.eye(len(u)) - _both(mean, u)


def fourth(g, w, u, v) -> np.ndarray:
  """(1/m) Σ_j g_j He_4(w_j)[·, ·, u, v], (b, b)."""
  eye, m = np.eye(len(u)), len(g)
  moment = (w * (g * (w @ u) * (w @ v))[:, None]).T @ w / m
  square = (w * g[:, None]).T @ w / m
  moment = moment - u @ square @ v * eye - u @ v * square
  moment = moment - _both(square @ u, v) - _both(square @ v, u)
  return moment + g.mean() * (u @ v * eye + _both(u, v))


def span(g, w, activation: Callable, batch: int, rng) -> np.ndarray:
  """(d, B) basis of the records' span from the output gradient alone: second
  moments where σ has them, else the third contracted with random vectors."""
  d = w.shape[1]
  if abs(coefficient(activation, 2)) > FLAT:
    square = (w * g[:, None]).T @ w / len(g) - g.mean() * np.eye(d)
  else:
    parts = [third(g, w, u) for u in rng.normal(size=(2 * batch, d))]
    square = sum(part @ part for part in parts)
  value, vector = np.linalg.eigh(square)
  return vector[:, np.argsort(-np.abs(value))[:batch]]


def directions(g, w, activation: Callable, rng) -> Iterator[np.ndarray]:
  """Yields (b, b) unit directions of records, from g (m,) and w (m, b)."""
  has_third = abs(coefficient(activation, 3)) > FLAT
  if not has_third and abs(coefficient(activation, 4)) <= FLAT:
    raise UserError(
      "the activation has no third and no fourth Hermite coefficient: its "
      "gradient's moments say nothing of the records; start='random' searches "
      "without them"
    )
  while True:
    u, v, s, t = rng.normal(size=(4, w.shape[1]))
    if has_third:
      pair = third(g, w, u), third(g, w, v)
    else:
      pair = fourth(g, w, u, s), fourth(g, w, v, t)
    _, vectors = np.linalg.eig(pair[0] @ np.linalg.pinv(pair[1]))
    found = np.real(vectors).T
    yield found / np.linalg.norm(found, axis=1, keepdims=True)


def _both(u, v) -> np.ndarray:
  return np.outer(u, v) + np.outer(v, u)
