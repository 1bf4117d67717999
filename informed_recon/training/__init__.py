"""How released models, shadow models and the judge are trained."""

from informed_recon.training.recipe import cross_entropy as cross_entropy
