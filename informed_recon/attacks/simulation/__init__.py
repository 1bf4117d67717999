"""The record whose simulated training ends at the released parameters."""

from informed_recon.attacks.simulation.rate import sought as sought
from informed_recon.attacks.simulation.sampled import (
  sampled_gradient as sampled_gradient,
)
from informed_recon.attacks.simulation.search import Answer as Answer
from informed_recon.attacks.simulation.search import Candidates as Candidates
from informed_recon.attacks.simulation.search import check as check
from informed_recon.attacks.simulation.search import (
  gaussian_prior as gaussian_prior,
)
from informed_recon.attacks.simulation.search import reconstruct as reconstruct
from informed_recon.attacks.simulation.step import Release as Release
from informed_recon.attacks.simulation.step import Search as Search
from informed_recon.attacks.simulation.step import Simulate as Simulate
