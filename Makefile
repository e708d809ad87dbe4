# make chat: talk to the bundled model    make test: run the tests    make help: the rest
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install --prefer-binary --find-links $(VENV)/wheels
LLAMA_CPP := $(shell grep -o 'llama-cpp-python[^"]*' pyproject.toml | head -n 1)

.PHONY: chat test test-torch check test-pythons bench bench-torch help clean

chat: $(VENV)/.installed  ## install if needed, then chat with the bundled model (also: echo "Hello" | make chat)
	@$(BIN)/easy-llama

test: $(VENV)/.installed-dev  ## install what the tests need, then run them
	@$(BIN)/python -m pytest

test-torch: $(VENV)/.installed-torch  ## install PyTorch and transformers, then run the tests of the PyTorch engine
	@$(BIN)/python -m pytest tests_torch

check: $(VENV)/.installed-dev  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

test-pythons: $(VENV)/.installed-dev  ## run the tests on every Python from 3.10 to 3.13 that is found
	@$(BIN)/python tests/every_python.py $(VENV)/wheels

bench: $(VENV)/.installed-dev  ## print the measured ratios (a few minutes, on a quiet machine)
	@$(BIN)/python -m benchmarks.generate && $(BIN)/python -m benchmarks.decoding

bench-torch: $(VENV)/.installed-torch  ## the same for PyTorch models
	@$(BIN)/python -m benchmarks.pytorch

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

clean:  ## remove the environment and all that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python $(VENV)/Scripts/python:
	@echo "Making a Python environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# The wheel is kept: it suits every Python, so llama.cpp is compiled once for an environment and never twice.
$(VENV)/.wheel: | $(BIN)/python
	@echo "Getting llama-cpp-python. Where no ready wheel is found, llama.cpp is compiled now:"
	@echo "once, about 3.5 minutes on 2 cores (the rest of the installation takes seconds) ..."
	@$(PIP) wheel -w $(VENV)/wheels --no-deps '$(LLAMA_CPP)'
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.wheel
	@echo "Installing easy_llama ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-torch: pyproject.toml $(VENV)/.installed-dev
	@echo "Installing PyTorch and transformers ..."
	@$(INSTALL) -e '.[dev,torch-dev]'
	@touch $@
