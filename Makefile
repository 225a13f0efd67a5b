# `make` lists what there is. Needed: Python 3.11 or newer with pip and venv, and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# The tree that `make demo` takes the inventory of; empty is Python's standard library.
TREE ?=

# Tests wait for servers more than they compute, so a few more than there are processors.
JOBS ?= 3

# What the tests of a file have in common is made once. In their order, since the longest files have
# few tests, and would come last by their number.
BY_FILE := --dist loadfile --no-loadscope-reorder

# Tests start many processes, and without it each would compile the whole package anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test azurite proofs bench lint docs pictures clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(VENV)/demo ## inventory of a real tree of files, its worker killed half way (TREE=/path)
	$(BIN)/python -m samples.demo $(if $(TREE),"$(TREE)")

test: $(VENV)/dev ## all tests but the slow ones (PROOFS=1: these too)
	$(BIN)/python -m pytest $(if $(PROOFS),,-m "not slow") -n $(JOBS) $(BY_FILE)

azurite: $(VENV)/azurite ## the Azure server, by npm; without it the tests on Azure are skipped

proofs: $(VENV)/dev ## the tests that take long
	$(BIN)/python -m pytest -m slow -n 2 $(BY_FILE)

bench: $(VENV)/bench ## all figures, into benchmarks/RESULTS.md (SHORT=1: only that each works)
	$(BIN)/python -m benchmarks $(if $(SHORT),--short)

lint: $(VENV)/dev ## rules, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p temporal_state -p samples -m worker -m pytest_temporal_state

docs: $(VENV)/dev ## a reference of every public name, in docs/reference
	$(BIN)/python docs/reference.py

pictures: $(VENV)/dev ## the pictures of the pages, from runs of a sample
	$(BIN)/python -m docs.pictures

clean: ## remove the virtual environment, caches and builds
	rm -rf $(VENV) build dist docs/reference *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: each environment is made once, and again when pyproject.toml has changed.
$(VENV)/demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[demo]'
	@touch $@

$(VENV)/dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/demo

# Beside the others, since what it compares with brings a hundred packages; few of their modules are
# ever imported.
$(VENV)/bench: pyproject.toml $(VENV)/dev
	$(BIN)/python -m pip install --quiet --no-compile -e '.[bench]'
	@touch $@

$(VENV)/azurite: | $(BIN)/python
	@command -v npm > /dev/null || { echo "no npm found; the Azure server needs Node.js" >&2; exit 1; }
	mkdir -p $@.new && npm install --prefix $@.new --no-audit --no-fund --silent azurite@3 && mv $@.new $@

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) found; set PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
