# make chat: talk to the bundled model    make chat-real: to a real one    make test: run the tests    make help
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# What llama.cpp computes on. Without BACKEND= it stays what it was; each has a wheel and a stamp of its own.
BACKENDS := cpu cuda metal vulkan hip rocm blas
BACKEND ?= $(or $(patsubst $(VENV)/.backend-%,%,$(firstword $(wildcard $(VENV)/.backend-*))),cpu)
ifneq ($(words $(BACKEND))$(filter $(BACKENDS),$(BACKEND)),1$(BACKEND))
$(error BACKEND must be one of: $(BACKENDS); got "$(BACKEND)")
endif
INSTALLED := $(VENV)/.backend-$(BACKEND)
WHEELS ?= $(VENV)/wheels$(addprefix -,$(filter-out cpu,$(BACKEND)))
GPU := $(if $(filter-out cpu blas,$(BACKEND)),--gpu-layers -1)
INSTALL := $(BIN)/python -m pip --disable-pip-version-check -q install --prefer-binary --find-links $(WHEELS)
REAL := $(VENV)/models/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: chat chat-real test real test-torch check package test-pythons bench bench-torch help clean

chat: $(INSTALLED)  ## install if needed, then chat with the bundled model, a toy; MODEL=file.gguf takes another, BACKEND=cuda a GPU
	@$(BIN)/easy-llama chat $(if $(MODEL),"$(MODEL)") $(GPU)

chat-real: $(INSTALLED)  ## get a small real model (SmolLM2-135M-Instruct, 98 MB), then chat with it
	@$(BIN)/python -m make.real_model $(REAL)
	@$(BIN)/easy-llama chat $(REAL) $(GPU)

test: $(VENV)/.installed-dev  ## install what the tests need, then run them
	@$(BIN)/python -m pytest

real: $(VENV)/.installed-dev  ## get that real model, then run the tests of tests/real on it
	@$(BIN)/python -m make.real_model $(REAL)
	@EASY_LLAMA_REAL_MODEL=$(REAL) $(BIN)/python -m pytest tests/real
	@echo "To chat with it: make chat-real, or $(BIN)/easy-llama chat $(REAL)"

test-torch: $(VENV)/.installed-torch  ## install PyTorch and transformers, then run the tests of the PyTorch engine
	@$(BIN)/python -m pytest tests_torch

check: $(VENV)/.installed-dev  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

package: $(VENV)/.installed-dev  ## build sdist and wheel into dist/, check both, install and run them in a fresh environment
	@$(BIN)/python -m make.package $(WHEELS)

test-pythons: $(VENV)/.installed-dev  ## run the tests on every Python from 3.10 to 3.13 that is found
	@$(BIN)/python tests/every_python.py $(WHEELS)

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

# llama.cpp is compiled once for an environment and a backend: make/install.py keeps the wheel, and says more.
$(INSTALLED): pyproject.toml | $(BIN)/python
	@rm -f $(VENV)/.backend-*
	@$(BIN)/python -m make.install $(BACKEND) $(WHEELS)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(INSTALLED)
	@echo "Installing what the tests need ..."
	@$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-torch: pyproject.toml $(VENV)/.installed-dev
	@echo "Installing PyTorch and transformers ..."
	@$(INSTALL) -e '.[dev,torch-dev]'
	@touch $@
