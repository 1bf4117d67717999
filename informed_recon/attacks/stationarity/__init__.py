"""The missing record of any network that was trained to a stationary point."""

from informed_recon.attacks.stationarity.search import (
  reconstruct as reconstruct,
)
