"""Which training records can be read out of your own model?"""

from informed_recon.attacks.identifiability import View as View
from informed_recon.audit.answer import Audit as Audit
from informed_recon.audit.entry import audit as audit
from informed_recon.audit.layers import layers as layers
from informed_recon.audit.recipe import recipe as recipe
from informed_recon.audit.released import Head as Head
from informed_recon.audit.released import audit_released as audit_released
from informed_recon.audit.statement import Guarantee as Guarantee
from informed_recon.audit.weights import from_torch as from_torch
from informed_recon.audit.weights import load as load
