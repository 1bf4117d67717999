"""Several unknown records at once: by simulation, or at a stationary point."""

from informed_recon.attacks.sets.labels import effects as effects
from informed_recon.attacks.sets.labels import likely_labels as likely_labels
from informed_recon.attacks.sets.search import Found as Found
from informed_recon.attacks.sets.search import reconstruct as reconstruct
from informed_recon.attacks.sets.training import sampled as sampled
from informed_recon.attacks.sets.training import simulation as simulation
from informed_recon.attacks.sets.training import stationarity as stationarity
