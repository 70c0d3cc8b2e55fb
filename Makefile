# Every target starts from a bare clone: the first one that needs it makes .venv and installs the pinned versions.
#
#   make demo                     the whole recursion, offline, three levels of the embedded task
#   make test                     style, types, floors, documentation and tests
#   make demo PYTHON=python3.12   with another interpreter (3.11 or newer)
#   make demo TORCH_INDEX=...     on Linux: the index of the small builds without CUDA, see the PyTorch site
#   make demo ARGS="--out runs/mine --seed 7"

PYTHON ?= python3
TORCH_INDEX ?=
ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
PACKAGES := ui rrm agents reward_models
PIP := $(BIN)/python -m pip --disable-pip-version-check
ADVICE = { echo "The installation did not finish. Nothing is half-used: run the same make command again." >&2; exit 1; }

.PHONY: help install demo test lint clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

install: $(STAMP)

# The stamp is written last, and the environment is cleared first: an interrupted installation is redone.
# torch comes first and by its exact version, so that nothing else decides which build of it is taken.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "rrm needs Python 3.11 or newer, and '$(PYTHON)' is not that ($$($(PYTHON) --version 2>&1))." >&2; \
	    echo "Name another interpreter: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing the pinned versions into $(VENV) (a minute or two, once) ..."
	@rm -f $@
	@$(PYTHON) -m venv --clear $(VENV) || $(ADVICE)
	@$(PIP) install --quiet -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
	    "$$(grep '^torch==' constraints.txt)" || $(ADVICE)
	@$(PIP) install --quiet -c constraints.txt -e ".[dev]" || $(ADVICE)
	@touch $@

demo: $(STAMP)
	@$(BIN)/rrm demo $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/generate.py --check

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

clean:
	rm -rf $(VENV) build dist .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find $(PACKAGES) tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
