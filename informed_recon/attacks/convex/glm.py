"""Losses of generalised linear models, as training and attack both need them.

One record, one model: predictor h = W x + b of shape (K,), response y of shape
(K,). A model is fitted by minimising the sum form

    sum_i s_i loss(h_i, y_i) + l2 / 2 ||W||^2          (+ l2 / 2 ||b||^2)

and everything an attack uses is r = d loss / d h, because one record's gradient
is the rank-one matrix r (x, 1)^T. K = 1 is the ordinary regression; with K > 1
outputs `linear`, `logistic` and `squared_hinge` are K problems over shared
features (one against the rest, for classes) and `softmax` couples them.

Responses inside this module: real for `linear`, `poisson`, `gamma`,
`inverse_gaussian` and Huber's loss; 0 or 1 an output for `logistic`; -1 or 1
for `squared_hinge`; one-hot for `softmax`.
"""

import functools
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


def exponential(mean, loss, minimum=-math.inf) -> Family:
  """An exponential family under any link (McCullagh and Nelder 1989, 2.2).

  Args:
    mean: h -> mu, the inverse link.
    loss: (mu, y) -> negative log likelihood, linear in y.
    minimum: smallest response.
  """

  def total(h, y):
    return jnp.sum(loss(mean(h), y))

  residual = jax.grad(total)

  def response(h, r):
    at_zero, slope = jax.jvp(
      lambda y: residual(h, y), (jnp.zeros_like(h),), (jnp.ones_like(h),)
    )
    return (r - at_zero) / slope

  return Family(total, residual, response, minimum)


def binary(log_one, log_zero) -> Family:
  """Two classes under any link, by the logarithms of their probabilities."""

  def loss(h, y):
    return -jnp.sum(jnp.where(y > 0, log_one(h), log_zero(h)))

  return Family(loss, jax.grad(loss))


@functools.cache
def huber(epsilon: float) -> Family:
  """z^2 up to |z| = epsilon, straight beyond; z = h - y in units of the scale
  (Huber 1981, 7.7). Of a response beyond, only the nearest possible is told."""

  def loss(h, y):
    z = jnp.abs(h - y)
    return jnp.sum(jnp.where(z <= epsilon, z**2, 2 * epsilon * z - epsilon**2))

  return Family(
    loss,
    lambda h, y: 2 * jnp.clip(h - y, -epsilon, epsilon),
    lambda h, r: h - r / 2,
  )


@functools.cache
def negative_binomial(alpha: float) -> Family:
  """Variance mu + alpha mu^2, log link."""
  return exponential(
    jnp.exp,
    lambda m, y: jnp.log1p(alpha * m) * (y + 1 / alpha) - y * jnp.log(m),
    minimum=0.0,
  )


@functools.cache
def tweedie(power: float) -> Family:
  """Variance mu^power, log link; a power of 1 or 2 is Poisson or gamma."""
  if power in (1.0, 2.0):
    return POISSON if power == 1.0 else GAMMA_LOG
  return exponential(
    jnp.exp,
    lambda m, y: (
      m ** (2 - power) / (2 - power) - y * m ** (1 - power) / (1 - power)
    ),
    minimum=0.0,
  )


MEANS = {
  "identity": lambda h: h,
  "log": jnp.exp,
  "inverse": lambda h: 1 / h,
  "sqrt": lambda h: h**2,
  "inverse_squared": lambda h: h**-0.5,
}


def _squares(m, y):
  return 0.5 * (m - y) ** 2


def _counts(m, y):
  return m - y * jnp.log(m)


def _wald(m, y):
  return y / (2 * m**2) - 1 / m


# The first link of each family is its default.
FAMILIES = {
  "linear": {
    "identity": LINEAR,
    "log": exponential(MEANS["log"], _squares),
    "inverse": exponential(MEANS["inverse"], _squares),
  },
  "logistic": {
    "logit": LOGISTIC,
    "probit": binary(
      jax.scipy.special.log_ndtr, lambda h: jax.scipy.special.log_ndtr(-h)
    ),
    "cloglog": binary(
      lambda h: jnp.log(-jnp.expm1(-jnp.exp(h))), lambda h: -jnp.exp(h)
    ),
  },
  "softmax": {"softmax": SOFTMAX},
  "poisson": {
    "log": POISSON,
    "identity": exponential(MEANS["identity"], _counts, 0.0),
    "sqrt": exponential(MEANS["sqrt"], _counts, 0.0),
  },
  "gamma": {
    "log": GAMMA_LOG,
    "inverse": GAMMA_INVERSE,
    "identity": exponential(
      MEANS["identity"], lambda m, y: jnp.log(m) + y / m, 0.0
    ),
  },
  "inverse_gaussian": {
    "inverse_squared": exponential(MEANS["inverse_squared"], _wald, 0.0),
    "log": exponential(MEANS["log"], _wald, 0.0),
  },
  "squared_hinge": {"identity": SQUARED_HINGE},
}
SEVERAL_OUTPUTS = (LINEAR, LOGISTIC, SOFTMAX, SQUARED_HINGE)


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


def explain(family, h, r, codes, whole):
  """The admissible response that explains residual r best, and how badly.

  Returns y (K,), the index of its code (0 where any response is admissible)
  and the misfit |residual(h, y) - r| / |r|.
  """
  norm = jnp.sqrt(jnp.sum(r**2))

  def misfit(y):
    gap = jnp.sqrt(jnp.sum((family.residual(h, y) - r) ** 2))
    return jnp.where(norm > 0, gap / norm, jnp.inf)

  if codes.shape[0]:
    misfits = jax.vmap(misfit)(codes)
    best = jnp.argmin(misfits)
    return codes[best], best, misfits[best]
  y = family.response(h, r)
  y = jnp.round(y) if whole else y
  return y, jnp.zeros((), int), misfit(y)
