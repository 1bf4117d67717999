"""Released weights from files, and state dicts of torch."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import linen as nn
from flax import serialization
from safetensors.numpy import save_file

from informed_recon import audit as doors
from informed_recon.types import UserError

PARAMS = {
  "a": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)},
  "b": {"bias": np.ones(3, np.float32)},
}
FLAT = {"a/kernel": PARAMS["a"]["kernel"], "b/bias": PARAMS["b"]["bias"]}


def _write(path, kind):
  if kind == "npz":
    np.savez(path, **FLAT)
  elif kind == "safetensors":
    save_file({k.replace("/", "."): v for k, v in FLAT.items()}, path)
  elif kind == "msgpack":
    path.write_bytes(serialization.msgpack_serialize(PARAMS))
  else:
    with ocp.StandardCheckpointer() as writer:
      writer.save(path, PARAMS)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "msgpack", ""])
def test_every_format_gives_back_the_tree(kind, tmp_path):
  path = tmp_path / f"weights.{kind}".rstrip(".")
  _write(path, kind)
  jax.tree.map(np.testing.assert_array_equal, doors.load(path), PARAMS)
  if kind:
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="cannot be read|damaged"):
      doors.load(path)


def test_no_pickle_and_no_guess(tmp_path):
  for name, message in (("m.pt", "pickle"), ("m.txt", "format")):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
      doors.load(tmp_path / name)
  with pytest.raises(UserError, match="there is no"):
    doors.load(tmp_path / "none.npz")


class _Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.GroupNorm(2, epsilon=1e-5)(nn.Conv(4, (3, 3))(x)))
    return nn.Dense(3)(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


def test_a_network_of_torch_answers_the_same_here():
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  theirs = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3, padding=1),
    torch.nn.GroupNorm(2, 4),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(4 * 36, 3),
  )
  x = np.random.default_rng(0).normal(size=(5, 6, 6, 1)).astype(np.float32)
  ours = _Net()
  like = ours.init(jax.random.key(0), x)
  params = doors.from_torch(theirs.state_dict(), like)
  with torch.no_grad():
    expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
  np.testing.assert_allclose(ours.apply(params, x), expected, atol=1e-5)


def test_what_has_no_place_is_said():
  like = {"a": {"kernel": np.zeros((2, 3))}}
  state = {"fc.weight": np.zeros((3, 2)), "fc.bias": np.zeros(3)}
  with pytest.raises(UserError, match="no place for 'fc.bias'"):
    doors.from_torch(state, like)
  with pytest.raises(UserError, match="has no kernel of shape"):
    doors.from_torch({"fc.bias": np.zeros(3)}, like)
  with pytest.raises(UserError, match="no mapping"):
    doors.from_torch({"fc.gates": np.zeros(3)}, like)
