"""Training records out of a classifier's weights, no record known."""

from informed_recon.attacks.kkt.search import Found as Found
from informed_recon.attacks.kkt.search import Settings as Settings
from informed_recon.attacks.kkt.search import degree as degree
from informed_recon.attacks.kkt.search import reconstruct as reconstruct
