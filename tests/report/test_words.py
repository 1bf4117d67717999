"""What a page says of an adversary who was wrong, and of weights that were
changed before their release."""

from informed_recon.configs import default
from informed_recon.report import words


def test_nothing_is_said_of_what_is_as_usual():
  config = default.get_config()
  assert words.mistaken(config.truth) == words.published(config.release) == ""
  assert words.mistaken({}) == words.published({}) == ""


def test_what_the_adversary_knew():
  algorithm = ["training_algorithm"]
  one_of_ten = dict(default.get_config().threat, initialisations=10)
  assert words.knew(algorithm, {}).endswith("but not the initial weights")
  assert words.knew([*algorithm, "initial_weights"], one_of_ten).endswith(
    "algorithm and the initial weights"
  )
  assert words.knew(algorithm, one_of_ten) == (
    "the training algorithm, and that the initial weights were one of 10 that "
    "it had"
  )


def test_what_the_adversary_was_wrong_about():
  truth = dict(default.get_config().truth, rate=1.1, replaced=3)
  assert words.mistaken(truth) == (
    "It was wrong: the learning rate was 1.1 times what it believed, and 3 of "
    "those records were others. "
  )
  assert "another seed" in words.mistaken(dict(other_seed=True))


def test_what_was_done_to_the_weights():
  release = dict(layers="Dense_1", format="int8", pruned=0.5)
  assert words.published(release) == (
    "Of the weights, 50% of each array was set to zero, and they were rounded "
    "to int8, and only the arrays that match “Dense_1” were published. "
  )
