"""What an auditor may conclude from a run, and what speaks against it.

The verdict is that of the strongest attack. Ridge regression counts as one:
an adversary could run it. The nearest-neighbour oracle does not, since it
knows the target, nor does the mean record, which no weights enter.
"""

from collections.abc import Iterator, Mapping, Sequence

import scipy.stats

from informed_recon.report import table, words

RUNNABLE = ("ridge",)  # baselines that an adversary could run
BLIND, ORACLE = "mean_image", "nearest_neighbour_oracle"
FEW = 100  # targets; fewer say little
WIDE = 0.2  # width of a 95% interval on the share of records recovered


def adversaries(results: Mapping) -> dict[str, Mapping]:
  """The rows of all that an adversary could run, by name."""
  baselines = results["baselines"]
  return {
    **results["attacks"],
    **{k: baselines[k] for k in RUNNABLE if k in baselines},
  }


def strongest(results: Mapping) -> str:
  """Name of the attack that recovered most records.

  By the lower end of the interval, so that 4 of 4 targets do not outrank 240
  of 250; then by the median error.
  """
  rows = adversaries(results)
  return max(
    rows,
    key=lambda k: (rows[k]["success_rate_ci95"][0], -rows[k]["mse_median"]),
  )


def sentence(results: Mapping, nouns: words.Nouns) -> str:
  """The first sentences of a report."""
  best = strongest(results)
  rows, blind = adversaries(results), results["baselines"][BLIND]
  row, who = rows[best], words.name(best)
  without = (
    f"a guess without the weights did so for {blind['success_rate']:.1%}"
  )
  if _more(row, blind):
    others = "" if len(rows) == 1 else ", the strongest attack of this run,"
    return (
      f"Records leak. From the weights {who}{others} recovered "
      f"{_share(row, nouns)}: its answer was nearer to the truth than any "
      f"record the adversary knew; {without}.{_partial(rows, best, nouns)}"
    )
  told = _told_apart(results)
  if told:
    return (
      f"The weights give something away, though {nouns.records} were not "
      f"recovered. {told} The best at recovering, {who}, did so for "
      f"{_share(row, nouns)}; {without}."
    )
  return (
    "No attack of this run shows a leak; that is no proof that there is none. "
    f"The strongest, {who}, recovered {_share(row, nouns)}; {without}."
  )


def _more(row: Mapping, blind: Mapping) -> bool:
  """Whether an attack recovered more than a guess without the weights did,
  beyond chance (Fisher's exact test, one-sided at 2.5%)."""
  counts = [
    [hits := round(r["success_rate"] * r["targets"]), r["targets"] - hits]
    for r in (row, blind)
  ]
  return scipy.stats.fisher_exact(counts, "greater").pvalue < 0.025


def _share(row: Mapping, nouns: words.Nouns) -> str:
  low, high = row["success_rate_ci95"]
  return (
    f"{round(row['success_rate'] * row['targets']):,} of {row['targets']:,} "
    f"missing {nouns.records} ({row['success_rate']:.1%}, 95% interval "
    f"{low:.1%} to {high:.1%})"
  )


def _partial(rows: Mapping, best: str, nouns: words.Nouns) -> str:
  """Attacks that did better where they answered, but for fewer targets."""
  return "".join(
    f" {_upper(words.name(name))}, which answered for fewer, recovered "
    f"{_share(row, nouns)}."
    for name, row in rows.items()
    if row["targets"] < rows[best]["targets"]
    and row["success_rate"] > rows[best]["success_rate"]
  )


def _told_apart(results: Mapping) -> str:
  """How well the targets are told from others, if better than by chance."""
  found = []
  for name, row in adversaries(results).items():
    for m, rate in row.get("identification", {}).items():
      low = row["identification_ci95"][m][0]
      found.append((low * int(m), low > 1 / int(m), name, int(m), rate))
  found = [f for f in found if f[1]]
  if not found:
    return ""
  _, _, name, m, rate = max(found)
  who = words.name(name)
  return (
    f"{who[0].upper()}{who[1:]} singled out the missing record among {m} "
    f"candidates in {rate:.1%} of cases (by chance {1 / m:.1%})."
  )


def warnings(
  results: Mapping,
  nouns: words.Nouns,
  *,
  num_classes: int = 0,
  capped: Sequence[str] = (),
) -> Iterator[str]:
  """What a reader must know before believing the numbers, in plain words.

  Args:
    results: as in results.json.
    nouns: what the records are called.
    num_classes: of the released models; 0 for regressions.
    capped: attacks whose PSNR is limited by the cap on it.
  """
  rows, baselines = adversaries(results), results["baselines"]
  for name in results["attacks"]:
    yield from _beaten(name, rows, baselines)
  yield from _model(results["released_model"], num_classes)
  row = rows[strongest(results)]
  low, high = row["success_rate_ci95"]
  count = row["targets"]
  if count < FEW:
    most = 1 - 0.025 ** (1 / count)
    yield (
      f"Only {count} targets. Had none of them been recovered, up to "
      f"{most:.0%} of all {nouns.records} could still be recoverable."
    )
  if high - low > WIDE:
    yield (
      f"The share of {nouns.records} recovered is known roughly: it may be "
      f"anywhere from {low:.0%} to {high:.0%}."
    )
  most = max(r["targets"] for r in rows.values())
  for name, other in rows.items():
    if other["targets"] < most:
      yield (
        f"{_upper(words.name(name))} answered for {other['targets']:,} of the "
        f"{most:,} targets; its numbers are of these alone."
      )
  epsilon = results["privacy"]["epsilon"]
  if epsilon is not None and epsilon > 10:
    yield (
      f"ε = {epsilon:.3g} by itself promises next to nothing; what counts is "
      "the bound on reconstruction below."
    )
  for name in capped:
    yield (
      f"The PSNR of {words.name(name)} is limited: an exact reconstruction "
      "counts as 120 dB."
    )


def _beaten(
  name: str, rows: Mapping[str, Mapping], baselines: Mapping
) -> Iterator[str]:
  """Whether an attack lost to something simpler."""
  row, who = rows[name], _upper(words.name(name))
  ridge, blind = rows.get("ridge"), baselines[BLIND]
  if ridge is not None and ridge["targets"] == row["targets"]:
    by = []
    if ridge["success_rate"] > row["success_rate"]:
      by.append(
        f"recovered {ridge['success_rate']:.1%} against "
        f"{row['success_rate']:.1%}"
      )
    if ridge["mse_mean"] < row["mse_mean"]:
      by.append(
        f"had a mean squared error of {table.number(ridge['mse_mean'])} "
        f"against {table.number(row['mse_mean'])}"
      )
    if by:
      yield (
        f"{who} lost to ridge regression, which {' and '.join(by)}: its own "
        "numbers say little of what leaks. Train it longer, or on more shadow "
        "models."
      )
  if row["mse_mean"] >= blind["mse_mean"]:
    yield (
      f"{who} was on average no nearer to the truth than the mean of the known "
      "records, a guess that needs no weights."
    )


def _model(released: Mapping, num_classes: int) -> Iterator[str]:
  """Whether the released model has learned anything."""
  accuracy = released["test_accuracy_mean"]
  if not num_classes or accuracy is None:
    return
  chance = 1 / num_classes
  if accuracy < chance + 0.2 * (1 - chance):
    yield (
      f"The released models are right for {accuracy:.1%} of unseen records, "
      f"by chance it would be {chance:.1%}: nobody would release them, and a "
      "useful model may leak more or less."
    )


def not_tried(
  kinds: Mapping[str, str], used: Sequence[str], results: Mapping
) -> str:
  """What this run leaves open.

  Args:
    kinds: kind of attack that such a model is open to -> what it does.
    used: kinds of the run's attacks.
    results: as in results.json.
  """
  left = [what for kind, what in kinds.items() if kind not in used]
  if "ridge" not in results["baselines"] and "reconstructor" in kinds:
    left.append("ridge regression on shadow models")
  text = f"Not tried here: {'; '.join(left)}. " if left else ""
  return text + (
    "Nor was anybody who knows less than all the other records, or who sees "
    "more than the final weights."
  )


def _upper(text: str) -> str:
  return text[0].upper() + text[1:]
