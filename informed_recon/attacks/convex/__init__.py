"""Closed-form attacks on convex models, and how such models are fitted."""

from informed_recon.attacks.convex.candidates import identify as identify
from informed_recon.attacks.convex.closed_form import reconstruct as reconstruct
from informed_recon.attacks.convex.closed_form import (
  reconstruct_many as reconstruct_many,
)
from informed_recon.attacks.convex.columns import Columns as Columns
