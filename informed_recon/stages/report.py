"""Figures and the HTML page of an experiment."""

from informed_recon.stages import Experiment


def run(experiment: Experiment) -> None:
  pass
