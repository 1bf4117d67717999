"""What noise buys against reconstruction, as tables and a figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from informed_recon.dp import accounting, bounds
from informed_recon.report import table

KAPPAS = (1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.125, 0.5)
EPSILONS = (1.0, 2.0, 4.0, 8.0, 16.0)


def by_kappa_and_epsilon(
  sampling_probability: float,
  steps: int,
  delta: float,
  kappas: Sequence[float] = KAPPAS,
  epsilons: Sequence[float] = EPSILONS,
) -> str:
  """Bounds on success: a row an epsilon, a column a blind guess."""
  rows = [("epsilon", "noise", *(f"kappa {k:g}" for k in kappas))]
  for epsilon in epsilons:
    sigma = accounting.calibrate_noise_multiplier(
      epsilon, delta, sampling_probability, steps
    )
    found = bounds.dpsgd_upper(
      np.array(kappas), sigma, sampling_probability, steps, "pld"
    )
    rows.append((f"{epsilon:g}", f"{sigma:.4g}", *(f"{g:.3g}" for g in found)))
  return table.aligned(rows)


def figure(
  noise_multiplier: float,
  sampling_probability: float,
  steps: int,
  log_kappa: float,
) -> Figure:
  """The bound against the blind guess, and against the noise."""
  drawn = Figure(figsize=(9, 3.6), layout="constrained")
  left, right = drawn.subplots(1, 2)
  kappas = np.geomspace(1e-6, 1, 100)
  setting = sampling_probability, steps
  left.plot(
    kappas, bounds.dpsgd_upper(kappas, noise_multiplier, *setting, "pld")
  )
  left.plot(kappas, kappas, ":", color="#888888", label="blind guess")
  left.set(xscale="log", xlabel="blind guess κ", ylabel="success at most")
  left.set_title(f"noise multiplier {noise_multiplier:.3g}", loc="left")
  left.legend()
  centre = max(noise_multiplier, 0.1)
  noises = np.geomspace(centre / 10, centre * 10, 25)
  right.plot(
    noises,
    [
      bounds.dpsgd_upper(None, s, *setting, "pld", log_kappa=log_kappa)
      for s in noises
    ],
  )
  right.axvline(noise_multiplier or noises[0], color="#888888", ls=":")
  right.set(xscale="log", xlabel="noise multiplier", ylim=(0, 1.02))
  right.set_title(f"blind guess {np.exp(log_kappa):.3g}", loc="left")
  return drawn
