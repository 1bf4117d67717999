"""A record that was deleted, out of the models before and after.

Someone asks for their record to be deleted, and the model is fitted again
without it. Who sees both models, knows no training record and has public
records of the same distribution, can tell what was deleted (Bertran et al.
2024). Where both models are stationary points, the deleted record's gradient at
the first is

  ∇ℓ(θ; x, y) = Σ_remaining [∇ℓ(θ'; xᵢ, yᵢ) - ∇ℓ(θ; xᵢ, yᵢ)] + penalty's part,

to first order the Hessian times θ' - θ. Public records, weighted to the number
of the remaining, stand for the sum. The informed adversary (`attacks.sklearn`,
`attacks.stationarity`) knows the sum itself.
"""

from informed_recon.attacks.deletion.baseline import (
  most_changed as most_changed,
)
from informed_recon.attacks.deletion.estimators import (
  left_by_solver as left_by_solver,
)
from informed_recon.attacks.deletion.estimators import (
  reconstruct as reconstruct,
)
from informed_recon.attacks.deletion.network import (
  reconstruct_network as reconstruct_network,
)
