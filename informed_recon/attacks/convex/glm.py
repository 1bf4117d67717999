"""Losses of generalised linear models, as training and attack both need them.

One record, one model: predictor h = W x + b of shape (K,), response y of shape
(K,). A model is fitted by minimising the sum form

    sum_i s_i loss(h_i, y_i) + l2 / 2 ||W||^2          (+ l2 / 2 ||b||^2)

and everything an attack uses is r = d loss / d h, because one record's gradient
is the rank-one matrix r (x, 1)^T. K = 1 is the ordinary regression; with K > 1
outputs `linear`, `logistic` and `squared_hinge` are K problems over shared
features (one against the rest, for classes) and `softmax` couples them.

Responses inside this module: real for `linear`, `poisson` and `gamma`; 0 or 1
an output for `logistic`; -1 or 1 for `squared_hinge`; one-hot for `softmax`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from informed_recon.types import UserError


class Family(NamedTuple):
  """A loss, seen from its predictor."""

  loss: Callable  # (h, y) -> scalar
  residual: Callable  # (h, y) -> (K,), d loss / d h
  response: Callable | None = None  # (h, r) -> y; None where y is a class
  minimum: float = -math.inf  # smallest response that the model admits


def _softmax_residual(h, y):
  p = jax.nn.softmax(h)
  # p_y - 1 loses its digits where the record is fitted well; the sum of the
  # other probabilities does not.
  return jnp.where(y > 0, -jnp.sum(jnp.where(y > 0, 0.0, p)), p)


def _logistic_residual(h, y):
  return jnp.where(y > 0, -jax.nn.sigmoid(-h), jax.nn.sigmoid(h))


LINEAR = Family(
  loss=lambda h, y: 0.5 * jnp.sum((h - y) ** 2),
  residual=lambda h, y: h - y,
  response=lambda h, r: h - r,
)
LOGISTIC = Family(
  loss=lambda h, y: jnp.sum(jax.nn.softplus(jnp.where(y > 0, -h, h))),
  residual=_logistic_residual,
)
SOFTMAX = Family(
  loss=lambda h, y: jax.nn.logsumexp(h) - jnp.sum(h * y),
  residual=_softmax_residual,
)
POISSON = Family(
  loss=lambda h, y: jnp.sum(jnp.exp(h) - y * h),
  residual=lambda h, y: jnp.exp(h) - y,
  response=lambda h, r: jnp.exp(h) - r,
  minimum=0.0,
)
# Unit-shape gamma. The log link is the one in use and is not canonical: its
# residual is 1 - y / mu, not mu - y.
GAMMA_LOG = Family(
  loss=lambda h, y: jnp.sum(h + y * jnp.exp(-h)),
  residual=lambda h, y: 1.0 - y * jnp.exp(-h),
  response=lambda h, r: jnp.exp(h) * (1.0 - r),
  minimum=0.0,
)
GAMMA_INVERSE = Family(
  loss=lambda h, y: jnp.sum(y * h - jnp.log(h)),
  residual=lambda h, y: y - 1.0 / h,
  response=lambda h, r: r + 1.0 / h,
  minimum=0.0,
)
SQUARED_HINGE = Family(
  loss=lambda h, y: jnp.sum(jnp.maximum(0.0, 1.0 - y * h) ** 2),
  residual=lambda h, y: -2.0 * y * jnp.maximum(0.0, 1.0 - y * h),
)

# The first link of each family is its default.
FAMILIES = {
  "linear": {"identity": LINEAR},
  "logistic": {"logit": LOGISTIC},
  "softmax": {"softmax": SOFTMAX},
  "poisson": {"log": POISSON},
  "gamma": {"log": GAMMA_LOG, "inverse": GAMMA_INVERSE},
  "squared_hinge": {"identity": SQUARED_HINGE},
}


def get(family: str, link: str | None = None) -> Family:
  """Finds a family by name; `link=None` takes its usual link.

  For gamma that is the log link; "inverse" is its canonical one.

  Raises:
    UserError: the family or its link is unknown; the message lists the known.
  """
  if family not in FAMILIES:
    raise UserError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
  links = FAMILIES[family]
  if link is None:
    return next(iter(links.values()))
  if link not in links:
    raise UserError(
      f"unknown link {link!r} for {family}; known: {', '.join(links)}"
    )
  return links[link]


def gradient(family: Family, weights, intercept, x, y, sample_weight):
  """Gradient of the weighted sum of losses, without the penalty.

  Shapes: weights (K, d), intercept (K,), x (n, d), y (n, K), sample_weight (n,)
  give ((K, d), (K,)).
  """
  r = jax.vmap(family.residual)(x @ weights.T + intercept, y)
  r = r * sample_weight[:, None]
  return r.T @ x, jnp.sum(r, axis=0)
