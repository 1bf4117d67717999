"""Upper bounds on reconstruction success for one mechanism, side by side."""

import math

import numpy as np

from informed_recon.dp import bounds

# What each bound knows of DP-SGD.
NAMES = ("tight", "rdp", "zcdp", "epsilon_delta")


def all_upper(
  privacy: dict, kappa: float | None = None, *, log_kappa: float | None = None
) -> dict[str, float]:
  """Upper bounds on the success of any attack on a privately trained model.

  - "tight": the smaller of privacy-loss-distribution and RDP bound; for full
    batches the trade-off function of the Gaussian mechanism.
  - "rdp": the RDP bound alone.
  - "zcdp": of the same noise at full batch (full batch only).
  - "epsilon_delta": of the stated pair, in both directions.

  Relation: add one record, the target, to those known.

  Args:
    privacy: noise_multiplier, sampling_probability, steps, epsilon (None: no
      guarantee) and delta, as a mechanism states them.
    kappa: success of the best blind guess, in (0, 1].
    log_kappa: log of kappa, in place of it.

  Raises:
    ValueError: an argument is out of its range.

  >>> noise = dict(noise_multiplier=10.0, sampling_probability=1.0, steps=100)
  >>> found = all_upper(noise | dict(epsilon=4.38, delta=1e-5), 0.1)
  >>> [round(found[name], 3) for name in NAMES]
  [0.389, 0.484, 0.484, 0.989]
  """
  blind = dict(kappa=kappa, log_kappa=log_kappa)
  sigma, q = privacy["noise_multiplier"], privacy["sampling_probability"]
  found = {
    name: float(
      bounds.dpsgd_upper(
        **blind,
        noise_multiplier=sigma,
        sampling_probability=q,
        steps=privacy["steps"],
        method=method,
      )
    )
    for name, method in (("tight", "best"), ("rdp", "rdp"))
  }
  if q == 1:
    rho = 0.5 * privacy["steps"] / sigma**2 if sigma else math.inf
    found["zcdp"] = (
      float(bounds.zcdp_upper(**blind, rho=rho)) if np.isfinite(rho) else 1.0
    )
  epsilon = privacy["epsilon"]
  found["epsilon_delta"] = (
    1.0
    if epsilon is None
    else float(
      bounds.approx_dp_upper(**blind, epsilon=epsilon, delta=privacy["delta"])
    )
  )
  return found
