# Everything runs inside .venv, which `make setup` builds once and again when pyproject.toml changes.
# PYTHON=/path/to/python chooses the interpreter; otherwise the first candidate that really runs is used.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TARGETS := $(VENV)/targets
CANDIDATES := python3.13 python3.12 python3.11 python3
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses $(WORKERS)

# Version managers leave shims for interpreters that are not there, so each candidate is run, not just looked up.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup compilers demo test test-slow test-compiled lint types docs docs-serve bench bench-check clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv and install equikit with its development tools

# A PYTHON= other than the one that .venv was made with rebuilds it.
ifneq ($(strip $(PYTHON)),)
ifneq ($(strip $(PYTHON)),$(strip $(shell cat $(VENV)/.python 2>/dev/null)))
$(STAMP): FORCE
endif
endif

$(STAMP): pyproject.toml
	@set -e; \
	chosen=""; \
	for candidate in $(if $(strip $(PYTHON)),"$(strip $(PYTHON))",$(CANDIDATES)); do \
		if "$$candidate" -c '$(USABLE)' >/dev/null 2>&1; then chosen="$$candidate"; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
		echo "setup: no working Python >= 3.11 with venv among: $(or $(strip $(PYTHON)),$(CANDIDATES))" >&2; exit 1; \
	fi; \
	if [ "$$(cat $(VENV)/.python 2>/dev/null)" != "$$chosen" ] || ! $(BIN)/python -c '$(USABLE)' >/dev/null 2>&1; then \
		echo "setup: making $(VENV) with $$chosen ($$("$$chosen" --version))"; \
		"$$chosen" -m venv --clear $(VENV); \
		echo "$$chosen" > $(VENV)/.python; \
	fi; \
	echo "setup: installing equikit and its development tools (some minutes the first time)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'; \
	touch $(STAMP); \
	echo "setup: done"

demo: setup ## run the demonstration
	@$(BIN)/equikit demo

# Compiling all modules, and rewriting the asserts of all tests, takes each worker 18 s, and each command that tests run
# 0.5 s; so bytecode is kept, also where the environment says otherwise.
test test-slow test-compiled: export PYTHONDONTWRITEBYTECODE :=
# Each worker has one core, on which threads of NumPy's BLAS wait for each other.
test test-slow test-compiled: export OPENBLAS_NUM_THREADS := 1

test: setup ## run the tests, without the slow ones
	@$(PYTEST)

test-slow: setup ## run the slow tests only
	@$(PYTEST) -m slow || { rc=$$?; [ $$rc -eq 5 ] && echo "test-slow: no test is marked slow"; }

test-compiled: setup ## run all tests, all programs compiled by XLA and none evaluated in NumPy
	@$(PYTEST) --compiled -m "slow or not slow"

lint: setup ## check style and format
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

types: setup ## check the package's types
	@$(BIN)/python -m mypy

docs: setup ## build the documentation into docs/_build/html; warnings are errors
	@$(BIN)/python -m sphinx -b html -d docs/_build/doctrees --quiet --fail-on-warning --keep-going docs docs/_build/html
	@echo "docs: open docs/_build/html/index.html"

docs-serve: docs ## serve the documentation on http://localhost:8000
	@$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory docs/_build/html

bench: setup ## run all benchmarks on small cases
	@$(BIN)/python -m benchmarks run all --quick

bench-check: setup ## compare ratios of times, and counts of compiled layers, with the stored ones
	@$(BIN)/python -m benchmarks check

# In an environment of their own, which sees the packages of .venv: where the CUDA plugin and libtpu are installed, every
# process that uses JAX looks for their devices first.
compilers: $(TARGETS)/.installed ## install the compilers for GPUs and TPUs, 320 MB

$(TARGETS)/.installed: $(STAMP)
	@$(BIN)/python -m venv --clear $(TARGETS)
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$($(TARGETS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/setup.pth"
	@$(TARGETS)/bin/python -m pip install --quiet --disable-pip-version-check 'equikit[targets]'
	@touch $@

clean: ## remove .venv, caches, builds and scratch outputs
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/scratch results/demo
	@rm -rf docs/_build docs/benchmarks docs/project docs/reference docs/tutorials
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
