"""Records out of one gradient of a two-layer network."""

from informed_recon.attacks.gradient.informed import (
  reconstruct_one as reconstruct_one,
)
from informed_recon.attacks.gradient.search import Batch as Batch
from informed_recon.attacks.gradient.search import Gradient as Gradient
from informed_recon.attacks.gradient.search import reconstruct as reconstruct
