"""A network that learns to read a record out of released parameters."""

from informed_recon.attacks.reconstructor.fitting import check as check
from informed_recon.attacks.reconstructor.fitting import fit as fit
from informed_recon.attacks.reconstructor.step import Fit as Fit
from informed_recon.attacks.reconstructor.step import Perceptual as Perceptual
