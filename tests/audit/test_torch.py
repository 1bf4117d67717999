"""A network that was trained in PyTorch, from its safetensors file."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import audit as doors

RNG = np.random.default_rng(8)
X = RNG.normal(size=(40, 4))
Y = np.argmax(X[:, :3] + 0.5 * RNG.normal(size=(40, 3)), 1)
L2 = 1e-2


def _network(torch, seed=0):
  torch.manual_seed(seed)
  return torch.nn.Sequential(
    torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)
  )


def _loss(params, x, y):
  hidden = jnp.tanh(x @ params["0"]["kernel"] + params["0"]["bias"])
  logits = hidden @ params["2"]["kernel"] + params["2"]["bias"]
  return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def _converged(torch):
  """Trained by L-BFGS in float64: mean cross-entropy and (L2/2)‖θ‖²."""
  model = _network(torch).double()
  x, y = torch.tensor(X), torch.tensor(Y)
  optimizer = torch.optim.LBFGS(
    model.parameters(),
    max_iter=3000,
    tolerance_grad=1e-11,
    tolerance_change=0,
    line_search_fn="strong_wolfe",
  )

  def closure():
    optimizer.zero_grad()
    value = torch.nn.functional.cross_entropy(model(x), y)
    value = value + L2 / 2 * sum(p.square().sum() for p in model.parameters())
    value.backward()
    return value

  optimizer.step(closure)
  return model


def test_records_from_the_weights_of_torch(tmp_path):
  torch = pytest.importorskip("torch")
  from safetensors.torch import save_file

  save_file(_converged(torch).state_dict(), tmp_path / "model.safetensors")
  like = {
    "0": {"kernel": np.zeros((4, 6)), "bias": np.zeros(6)},
    "2": {"kernel": np.zeros((6, 3)), "bias": np.zeros(3)},
  }
  state = doors.load(tmp_path / "model.safetensors")
  params = doors.from_torch(state, like)
  found = doors.audit_released(
    params, X, Y, loss=_loss, l2=L2, records=[0, 7]
  ).table
  assert set(found.attack) == {"stationarity"}
  assert found.confident.any()
  sure = found[found.confident]
  assert (sure.mse < 1e-6).all() and (sure.label_found == sure.label).all()


def test_a_training_in_torch_is_attacked_by_shadow_models():
  torch = pytest.importorskip("torch")

  def train(key, x, y):
    model = _network(torch, seed=key)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    for _ in range(15):
      optimizer.zero_grad()
      torch.nn.functional.cross_entropy(model(x), y).backward()
      optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}

  found = doors.audit(train, X, Y, key=0, records=[0, 7, 30])
  assert "cannot be traced" in found.statement
  assert set(found.table.attack) == {"shadow_ridge"}
  assert not found.table.confident.any()
