"""What would change, what is proven of a declared mechanism, which layers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import audit as doors
from informed_recon.attacks.identifiability import View
from informed_recon.dp import bounds
from informed_recon.types import UserError

RNG = np.random.default_rng(6)
X = RNG.normal(size=(60, 3)).astype(np.float32)
Y = (X.sum(1) + RNG.normal(size=60) > 0).astype(int)


def _train(steps=30, l2=0.0, blind=False):
  def train(key, x, y):
    x = jnp.asarray(x).at[:, 2].set(0.0) if blind else x
    a, b = jax.random.split(key)
    params = dict(
      first=dict(w=jax.random.normal(a, (3, 5)), b=jnp.zeros(5)),
      last=dict(v=jax.random.normal(b, (5, 2)) / 2),
    )

    def loss(p):
      logits = jnp.tanh(x @ p["first"]["w"] + p["first"]["b"]) @ p["last"]["v"]
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean() + l2 / 2 * optax.tree.norm(p, squared=True)

    def step(p, _):
      return jax.tree.map(lambda a, g: a - 0.3 * g, p, jax.grad(loss)(p)), None

    return jax.lax.scan(step, params, None, steps)[0]

  return train


def _score(params):
  hidden = jnp.tanh(X @ params["first"]["w"] + params["first"]["b"])
  return np.mean(np.argmax(hidden @ params["last"]["v"], 1) == Y)


@pytest.mark.slow
def test_other_trainings_on_the_same_records(tmp_path):
  more_x, more_y = np.concatenate([X, -X]), np.concatenate([Y, 1 - Y])
  found = doors.audit(
    _train(),
    X,
    Y,
    records=[3, 40],
    score=_score,
    variants={
      "twice the data": (_train(), more_x, more_y),
      "blind to a feature": _train(blind=True),
    },
  )
  table = found.remedies.set_index("remedy")
  assert list(table.index) == [
    *("as it is", "twice the data", "blind to a feature")
  ]
  assert (table.searched == 2).all()
  assert table.read_out["as it is"] >= 1
  assert table.read_out["blind to a feature"] == 0
  whole, double = table.influence[["as it is", "twice the data"]]
  assert double == pytest.approx(whole / 2, rel=0.3)
  key = jax.random.key(0)
  assert table.score["as it is"] == _score(_train()(key, X, Y))
  assert "twice the data: " in found.statement
  assert "With that noise the score is" in found.statement
  found.to_json(tmp_path / "a.json")
  figures = json.loads((tmp_path / "a.json").read_text())["figures"]
  assert [row["remedy"] for row in figures["remedies"]] == list(table.index)
  assert figures["score_with_noise"] < figures["score"]
  with pytest.raises(UserError, match="put further records behind"):
    doors.audit(
      _train(), X, Y, records=[3], variants={"other": (_train(), -X, Y)}
    )


def test_what_is_proven_of_a_declared_mechanism():
  declared = doors.Guarantee(
    *(8.0, 1.0, 100), kappa=0.125, prior="one of eight", max_success=0.5
  )
  asked = dict(records=[3])
  found = doors.audit(_train(), X, Y, guarantee=declared, **asked)
  upper = bounds.dpsgd_upper(0.125, 8.0, 1.0, 100)
  figures = found.facts["figures"]
  assert figures["success_upper"] == pytest.approx(upper)
  wanted = figures["noise_multiplier_wanted"]
  assert bounds.dpsgd_upper(0.125, wanted, 1.0, 100) <= declared.max_success
  proven = " ".join(found.facts["proven"])
  assert f"{upper:.3g}" in proven and "one of eight" in proven
  none = doors.audit(
    _train(), X, Y, guarantee=declared._replace(noise_multiplier=0.0), **asked
  )
  assert none.facts["proven"][0].startswith("Nothing")
  assert none.facts["figures"]["success_upper"] == 1
  with pytest.raises(UserError, match="guarantee: sampling_prob"):
    doors.audit(
      _train(), X, Y, guarantee=doors.Guarantee(1.0, 2.0, 100), **asked
    )


def test_which_layers_may_be_published():
  """What is predicted of a view comes true in the search, which sees all."""
  table = doors.layers(_train(), X, Y, records=[3]).set_index("view")
  assert list(table.index) == [
    *("all", "first", "last", "all, bfloat16", "all, int8")
  ]
  assert list(table.numbers) == [30, 20, 10, 30, 30]
  assert (table["rank"] == 3).all() and table.error["all"] < 1e-3
  assert table.error["all"] < table.error["all, bfloat16"] < 1
  blind = doors.layers(
    _train(blind=True), X, Y, records=[3, 4], views={"all": View()}
  ).iloc[0]
  assert blind["rank"] == 4 and blind.unknowns == 6
  assert blind.worst == pytest.approx(1)  # of one spread: nothing is known
  with pytest.raises(UserError, match="records must be indices"):
    doors.layers(_train(), X, Y, records=[60])
  with pytest.raises(UserError, match="cannot be differentiated"):
    doors.layers(lambda key, x, y: np.array(x).sum(0), X, Y)
