"""Figures and the HTML page of an experiment."""

import matplotlib

from informed_recon import stages
from informed_recon.experiment import Experiment
from informed_recon.report import figures, page
from informed_recon.storage import files


def run(experiment: Experiment) -> None:
  """Leaves `figures/*.png` and `report.html`."""
  workdir = experiment.workdir
  results = files.read_json(experiment.evaluation / "results.json")
  with matplotlib.rc_context(figures.STYLE):
    content = stages.reporter(experiment.config).page(experiment, results)
  html = page.render(
    content,
    title=experiment.config.title,
    images={
      name: page.save_figure(workdir / f"figures/{name}.png", picture.figure)
      for name, picture in content.pictures.items()
    },
    timing=stages.timing(experiment),
    environment=stages.environment(),
    config=experiment.config.to_dict(),
  )
  files.write_text(workdir / "report.html", html)
