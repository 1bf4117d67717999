"""The same training in PyTorch, for `bench.shadow_training`."""

import numpy as np
import torch

from informed_recon.types import Records


def _forward(p, x):
  hidden = torch.nn.functional.elu(x @ p[1] + p[0])
  return hidden @ p[3] + p[2]


def _start(params):
  """Leaves in the order of flax: bias and kernel of each layer."""
  layers = params["Dense_0"], params["Dense_1"]
  names = "bias", "kernel"
  return [torch.tensor(np.asarray(y[k])) for y in layers for k in names]


def _records(records: Records):
  x = torch.tensor(np.asarray(records.x)).flatten(1)
  return x, torch.tensor(np.asarray(records.y), dtype=torch.long)


def torch_loop(params, fixed, targets, steps, rate, momentum) -> np.ndarray:
  """One model after the other, eager."""
  (x, y), rows = _records(fixed), []
  for tx, ty in zip(*_records(targets)):
    leaves = [p.clone().requires_grad_() for p in _start(params)]
    optimizer = torch.optim.SGD(leaves, rate, momentum)
    all_x, all_y = torch.cat([x, tx[None]]), torch.cat([y, ty[None]])
    for _ in range(steps):
      optimizer.zero_grad()
      logits = _forward(leaves, all_x)
      torch.nn.functional.cross_entropy(logits, all_y).backward()
      optimizer.step()
    rows.append(torch.cat([p.detach().ravel() for p in leaves]).numpy())
  return np.stack(rows)


def torch_vmap(params, fixed, targets, steps, rate, momentum) -> np.ndarray:
  """torch.func: gradients of all models under one vmap, the data shared."""
  (x, y), (tx, ty) = _records(fixed), _records(targets)
  loss_sum = torch.nn.functional.cross_entropy

  def loss(p, tx, ty):
    total = loss_sum(_forward(p, x), y, reduction="sum")
    own = loss_sum(_forward(p, tx[None]), ty[None], reduction="sum")
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
