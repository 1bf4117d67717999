"""The privacy curve: what it concludes from results."""

import pytest

from informed_recon.dp import audit
from informed_recon.report.curves import Result, privacy
from informed_recon.types import UserError


def _point(epsilon, mse, hits, upper, accuracy=0.8, targets=100):
  """One point with one attack, identified in `hits` of 100 among 8."""
  error = dict(
    mse_mean=mse,
    mse_mean_ci95=[0.9 * mse, 1.1 * mse],
    targets=targets,
    success_at_eta=dict(eta=0.005, rate=0.0),
    identification={"8": hits / targets},
  )
  bounds = dict.fromkeys(privacy.LINES, upper)
  return Result(
    {"training.privacy.epsilon": epsilon},
    dict(
      attacks=dict(net=error),
      baselines=dict(
        mean_image=error | dict(mse_mean=0.07, mse_mean_ci95=[0.065, 0.075]),
        nearest_neighbour_oracle=error
        | dict(mse_mean=0.03, mse_mean_ci95=[0.028, 0.032]),
      ),
      released_model=dict(
        test_accuracy_mean=accuracy,
        test_accuracy_mean_ci95=[accuracy - 0.01, accuracy + 0.01],
      ),
      privacy=dict(
        epsilon=epsilon,
        noise_multiplier=0.05 if epsilon else 0.0,
        sampling_probability=1.0,
        steps=10,
        delta=1e-5,
        kappa={"eta": 0.04, "8": 0.125},
        success_upper={"eta": bounds, "8": bounds},
      ),
    ),
  )


def test_where_it_falls_and_what_suffices():
  points = [
    _point(None, 0.01, 97, 1.0, accuracy=0.9),
    _point(1000.0, 0.05, 40, 1.0),
    _point(10.0, 0.068, 12, 0.8, accuracy=0.75),
  ]
  figure, sentences = privacy.draw(points)
  assert len(figure.axes) == 5  # two scores, errors, accuracy, proved ε
  text = "\n".join(sentences)
  assert "At ε = 10 net is no better than the mean image" in text
  assert "keeps 75.0% accuracy" in text and "without noise 90.0%" in text
  assert "identification among 8: at ε = 10 (noise multiplier 0.05)" in text
  assert "the bound still allows an attack 80%" in text
  assert "In none of 6 comparisons" in text


def test_success_above_its_bound_is_said_aloud():
  _, sentences = privacy.draw(
    [_point(None, 0.01, 97, 1.0), _point(1.0, 0.06, 60, 0.3)]
  )
  assert "ABOVE ITS BOUND: net at ε = 1 (8)" in sentences[-1]


def test_an_attack_that_never_falls():
  _, sentences = privacy.draw(
    [_point(None, 0.01, 97, 1.0), _point(9.0, 0.02, 90, 1.0)]
  )
  assert sentences[0] == "At no ε of the sweep does net fall to the mean image."


def test_a_sweep_without_privacy():
  with pytest.raises(UserError, match="privacy mechanism"):
    privacy.draw([Result({}, dict(privacy=dict(mechanism="none")))])


def test_the_best_of_two_scores_pays_for_the_choice():
  """What 60 of 100 among 8 prove is less where 64 was tried as well."""
  one, two = _point(300.0, 0.05, 60, 1.0), _point(300.0, 0.05, 60, 1.0)
  two.results["attacks"]["net"]["identification"]["64"] = 0.0
  two.results["privacy"]["kappa"]["64"] = 1 / 64
  two.results["privacy"]["success_upper"]["64"] = dict.fromkeys(
    privacy.LINES, 1.0
  )
  for point, confidence in ((one, 0.99), (two, 0.995)):
    figure, _ = privacy.draw([point])
    proved = figure.axes[-1].lines[0].get_ydata()
    assert proved == pytest.approx(
      audit.dpsgd_epsilon_lower(60, 100, 1 / 8, 1.0, 10, 1e-5, confidence)
    )
