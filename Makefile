# make demo: run the quickstart.  make test: lint, types and tests.  make clean: remove what these made.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint types tests clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/semcom run quickstart --workers $(WORKERS)

test: lint types tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

tests: $(STAMP)
	$(BIN)/pytest -n 2

# One recipe makes the environment; the stamp is older than these files only when they have changed since.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'Python 3.11 or later is needed; name one: make PYTHON=python3.12'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into $(VENV) (some minutes the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf build dist *.egg-info runs .mypy_cache .ruff_cache .pytest_cache .hypothesis $(STAMP)
