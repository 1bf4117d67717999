"""Attacks on released models; each answers with the record that it found.

- `convex`, `sklearn`, `statsmodels`: fitted regressions and linear classifiers,
  in closed form.
- `stationarity`: a network trained to a stationary point.
- `simulation`: any training that can be run and differentiated.
- `reconstructor`: a network that learned from shadow models.
- `prior_aware`: which of a few candidates a private training run saw.
- `sets`, `kkt`: several unknown records; none known.
- `deletion`, `gradient`: two models that differ in one record; one gradient.
- `head`: a linear head on frozen features.
- `identifiability`: what can be had at all, before any search.

`docs/threats.md` puts side by side what each adversary knows. `marquardt` is
what several of the searches share.
"""
