"""The judge behind the KL metric."""

import jax
import numpy as np
import pytest

from informed_recon import data, models
from informed_recon.data import DataSpec
from informed_recon.evaluation import judge
from informed_recon.evaluation.judge import Classifier
from informed_recon.types import Records


@pytest.fixture(scope="module")
def judged():
  fake = data.load(DataSpec("fake"))
  train = Records(*(a[:500] for a in fake.records))
  model = models.build("mlp", fake.num_classes, fake.shape, dict(width=16))
  classify = judge.fit(
    model, Classifier(10, 50, 1e-2), train, jax.random.key(0)
  )
  return fake.records, classify


def test_it_learns_and_answers_log_probabilities(judged):
  (x, y), classify = judged
  log_p = classify(x[500:])
  assert log_p.shape == (100, 4)
  np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-5)
  assert np.mean(log_p.argmax(1) == y[500:]) > 0.6  # chance: 0.25


def test_blocks_are_joined_in_order(judged):
  (x, _), classify = judged
  many = np.concatenate([x, x])  # 1,200 records: two blocks
  log_p = classify(many)
  np.testing.assert_allclose(log_p[:600], log_p[600:], atol=1e-5)
  np.testing.assert_allclose(log_p[1000:], classify(many[1000:]), atol=1e-5)


def test_fewer_records_than_a_batch(judged):
  x, y = judged[0]
  model = models.build("linear", 4, (8, 8, 1), {})
  classify = judge.fit(
    model, Classifier(1, 128), Records(x[:5], y[:5]), jax.random.key(0)
  )
  assert np.isfinite(classify(x[:2])).all()
