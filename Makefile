# `make crossval` and `make test` set up everything themselves, in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SETUP  := $(VENV)/.set-up
export OMP_NUM_THREADS ?= 1

.PHONY: help crossval test lint format sweep matrix exhaustive selftest bench docs examples clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

crossval: $(SETUP)  ## the main job: every hand derivation against autograd; reports in reports/latest
	$(BIN)/handgrad crossval

test: $(SETUP)  ## the tests
	$(BIN)/pytest -n auto

CORES  := $$($(BIN)/python -c 'import os; print(os.cpu_count())')

sweep: $(SETUP)  ## every sample of PyTorch's databases, hand against native; figures in reports/sweep.md
	$(BIN)/python -m torch_ext.sweep --jobs $(CORES) --report reports/sweep.md

matrix: $(SETUP)  ## every layer under every transform; reports/composability.md
	$(BIN)/python -m torch_ext.sweep.matrix --jobs $(CORES) --report reports/composability.md --json reports/composability.json

exhaustive: $(SETUP)  ## the tests that `make test` leaves out: more seeds, more models, more orders
	$(BIN)/pytest -n auto -m sweep

selftest: $(SETUP)  ## the checker on its whole corpus of planted mistakes; figures in reports/selftest.md
	$(BIN)/python -m handgrad.checking.selftest --jobs $(CORES) --report reports/selftest.md

bench: $(SETUP)  ## the checker beside both modes of gradcheck
	$(BIN)/handgrad bench check

lint: $(SETUP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(SETUP)  ## ruff's own formatting and fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

examples: $(SETUP)  ## write the committed example reports again
	$(BIN)/python reports/example/make.py

docs: $(SETUP)  ## the documentation as a site
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:  ## remove what set-up and runs have made
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis reports/latest
