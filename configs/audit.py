"""The audit of a training function of one's own, from the command line.

`train` names a file and a function (key, x, y) -> parameters in it, `data` an
.npz with the arrays x and y. The folder gets audit.html, audit.json, audit.csv,
and what was found: the same command with more minutes goes on from there.

python -m launch.audit --config=configs/audit.py --workdir=runs/audit \
  --config.train=mine.py:train --config.data=mine.npz --config.minutes=10

What takes functions or arrays is for the Python function
`informed_recon.audit.audit` alone: `loss`, `score`, `variants`, `guarantee`; so
are `l2` and `head` of `informed_recon.audit.audit_released`.
"""

from ml_collections import ConfigDict, config_dict


def get_config():
  return ConfigDict(
    dict(
      train="",  # FILE.py:FUNCTION; may stay empty for a released model
      data="",  # .npz with x (n, ...) and y (n, ...)
      released="",  # weights to audit in place of the function's own
      records="random",  # or all, atypical, or indices such as 0,5,9
      minutes=config_dict.placeholder(float),  # none: 32 records, however long
      seed=0,  # of the key that `train` is given
      key_known=True,  # to the adversary
    )
  )
