# Everything that a person does here, from a bare clone with make and Python 3.11, 3.12 or 3.13. `make` alone explains.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8012
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input install --require-hashes
# The first interpreter that can do it; PYTHON=/path/to/python chooses another.
PYTHON ?= python3.11 python3.12 python3.13 python3 python
CAN := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: help run test check bench docs pictures requirements mutants
.DEFAULT_GOAL := help

help:
	@echo "make run     a control plane on http://127.0.0.1:$(PORT) and a demo fleet; PORT=8080 chooses another port"
	@echo "make test    the whole suite; says what it skipped and why"
	@echo "make check   format, lint, types, import contracts"
	@echo "make bench   every benchmark, as ratios"
	@echo "make docs    the pages as a site, with the reference of the library"
	@echo "make pictures   photographs the pages anew for the README and the docs; needs Chromium"
	@echo "make requirements   pins what pyproject.toml asks for"
	@echo "make mutants   whether a changed core turns a test red; half an hour; MUTANTS='breakers.core.windows.*' asks for one module"

run: $(VENV)/run.stamp
	@$(BIN)/python -m demo run --port $(PORT)

test: $(VENV)/dev.stamp
	@$(BIN)/python -m tests

check: $(VENV)/dev.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# Pins move only where pyproject.toml asks for it; remove a file first to move them all.
requirements: $(VENV)/dev.stamp
	@export UV_CUSTOM_COMPILE_COMMAND="make requirements"; \
	options="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --quiet"; \
	$(BIN)/uv pip compile pyproject.toml --extra django $$options -o requirements.txt >/dev/null && \
	$(BIN)/uv pip compile pyproject.toml --extra django --group dev -c requirements.txt $$options \
	  -o requirements-dev.txt >/dev/null && \
	$(BIN)/uv pip compile pyproject.toml --group bench -c requirements-dev.txt $$options \
	  -o requirements-bench.txt >/dev/null

pictures: $(VENV)/dev.stamp
	@$(BIN)/python docs/pictures/remake.py

bench: $(VENV)/bench.stamp
	@$(BIN)/python -m benchmarks

# The site needs no network. A broken link, or a page that names what is not there, ends it.
docs: $(VENV)/dev.stamp
	@$(BIN)/python -m tradpal_cb.settings_page
	@said=$$(NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build 2>&1) || { echo "$$said" >&2; exit 1; }
	@echo "Open var/site/index.html; with search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory var/site"

# What is left is explained in docs/mutants.md. Remembered in mutants/: the next run asks only what has changed since.
mutants: $(VENV)/dev.stamp
	@nice $(BIN)/mutmut run --max-children 1 $(if $(MUTANTS),'$(MUTANTS)')
	@$(BIN)/mutmut results

$(BIN)/python:
	@for python in $(PYTHON); do \
	  if "$$python" -c '$(CAN)' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$python; the first time takes a minute." >&2; \
	    "$$python" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	    exit 0; \
	  fi; \
	done; \
	echo "Python 3.11, 3.12 or 3.13 with venv is needed and none of these is one: $(PYTHON). Name yours: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt | $(BIN)/python
	@$(PIP) -r requirements-dev.txt
	@touch $@

$(VENV)/bench.stamp: requirements-bench.txt $(VENV)/dev.stamp
	@$(PIP) -r requirements-bench.txt
	@touch $@
