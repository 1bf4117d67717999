"""The same training in PyTorch, for `shadow_training` and `reconstructor`."""

import jax
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, as everybody calls it

from informed_recon.types import Records


def mlp(p, x):
  hidden = F.elu(x.flatten(1) @ p[1] + p[0])
  return hidden @ p[3] + p[2]


def convnet(p, x):
  """`models/convnet.py` with mean pooling; p in the order of flax's leaves."""
  x = x.permute(0, 3, 1, 2)
  for bias, kernel in zip(p[:-2:2], p[1:-2:2]):
    x = F.elu(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding="same"))
    x = F.avg_pool2d(x, 2)
  return x.permute(0, 2, 3, 1).flatten(1) @ p[-1] + p[-2]


def _start(params):
  return [torch.tensor(np.asarray(leaf)) for leaf in jax.tree.leaves(params)]


def _records(records: Records):
  x = torch.tensor(np.asarray(records.x))
  return x, torch.tensor(np.asarray(records.y), dtype=torch.long)


def torch_loop(
  forward, params, fixed, targets, steps, rate, momentum
) -> np.ndarray:
  """One model after the other, eager."""
  (x, y), rows = _records(fixed), []
  for tx, ty in zip(*_records(targets)):
    leaves = [p.clone().requires_grad_() for p in _start(params)]
    optimizer = torch.optim.SGD(leaves, rate, momentum)
    all_x, all_y = torch.cat([x, tx[None]]), torch.cat([y, ty[None]])
    for _ in range(steps):
      optimizer.zero_grad()
      logits = forward(leaves, all_x)
      F.cross_entropy(logits, all_y).backward()
      optimizer.step()
    rows.append(torch.cat([p.detach().ravel() for p in leaves]).numpy())
  return np.stack(rows)


def torch_vmap(
  forward, params, fixed, targets, steps, rate, momentum
) -> np.ndarray:
  """torch.func: gradients of all models under one vmap, the data shared."""
  (x, y), (tx, ty) = _records(fixed), _records(targets)
  loss_sum = F.cross_entropy

  def loss(p, tx, ty):
    total = loss_sum(forward(p, x), y, reduction="sum")
    own = loss_sum(forward(p, tx[None]), ty[None], reduction="sum")
    return (total + own) / (len(y) + 1)

  gradient = torch.func.vmap(torch.func.grad(loss))
  many = [p.expand(len(ty), *p.shape).clone() for p in _start(params)]
  traces = [torch.zeros_like(p) for p in many]
  for _ in range(steps):
    grads = gradient(many, tx, ty)
    for p, t, g in zip(many, traces, grads):
      t.mul_(momentum).add_(g)
      p.sub_(t, alpha=rate)
  return torch.cat([p.flatten(1) for p in many], 1).numpy()


def reconstructor_steps(widths, theta, images, count):
  """Steps of an mlp with GELU, sigmoid and MAE + MSE, by fused AdamW."""
  device = "cuda" if torch.cuda.is_available() else "cpu"
  layers = []
  for i, o in zip(widths[:-1], widths[1:]):
    layers += [torch.nn.Linear(i, o), torch.nn.GELU(approximate="tanh")]
  network = torch.nn.Sequential(*layers[:-1], torch.nn.Sigmoid()).to(device)
  optimizer = torch.optim.AdamW(
    network.parameters(), 1e-3, weight_decay=1e-2, fused=True
  )
  x = torch.tensor(theta, device=device)
  z = torch.tensor(images.reshape(len(images), -1), device=device)

  def run():
    for _ in range(count):
      optimizer.zero_grad()
      error = network(x) - z
      (error.abs().mean() + error.square().mean()).backward()
      optimizer.step()
    if device == "cuda":
      torch.cuda.synchronize()

  return run
