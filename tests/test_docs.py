"""Code in the documentation can be copied: it imports and defines its names."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/audit.md"])
def test_blocks_define_what_they_use(page):
  blocks = re.findall("```python\n(.*?)```", (ROOT / page).read_text(), re.S)
  done = subprocess.run(
    [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821", "-"],
    **dict(input="\n".join(blocks), capture_output=True, text=True),
  )
  assert blocks and done.returncode == 0, done.stdout
