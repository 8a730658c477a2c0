# `make demo` and `make test` create a virtual environment in .venv and install the package before they run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-slow test-browser coverage lint format docs clean

demo: $(VENV)/.demo
	$(BIN)/hmmn-jax demo --output runs/demo

# The tests cache compiled programs for the next run, because compilation takes about half of the test time.
test test-slow test-browser coverage: export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.jax_cache
test test-slow test-browser coverage: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0.1

test: $(VENV)/.test
	$(PYTEST) -m "not slow and not browser"

test-slow: $(VENV)/.test
	$(PYTEST) -m slow

test-browser: $(VENV)/.test  # needs Chromium or Chrome
	$(BIN)/python -m pytest -m browser tests/browser

coverage: $(VENV)/.test  # prints a table and writes coverage.xml
	$(PYTEST) -m "not slow and not browser" --cov --cov-report=term --cov-report=xml

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs  # writes docs/_build/html/index.html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev,video,data,paint,train]'
	@touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

clean:  # keeps the results in runs/
	rm -rf .venv .jax_cache
