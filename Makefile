# Two commands do all their own set-up on a machine with Python >= 3.11:
#   make demo   runs the main job and leaves a report
#   make test   passes the tests (make test-all: the slow proofs too)
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKDIR ?= runs/demo

.PHONY: demo test test-all docs lint install

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and \
	  'informed_recon needs Python >= 3.11; run: make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/python -m launch.run --config=configs/demo.py --workdir=$(WORKDIR)

test: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile -m "not slow"

# Compiled as users do, where `make test` compiles in half the time.
test-all: install
	$(BIN)/python -m ruff check .
	XLA_FLAGS="$$XLA_FLAGS" $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

lint: install
	$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .

docs: install
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m mkdocs build --quiet
