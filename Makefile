SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq -c constraints-ci.txt
CORES := $(shell nproc 2>/dev/null || echo 2)

export OMP_NUM_THREADS ?= $(shell echo $$(( $(CORES) < 4 ? $(CORES) : 4 )))

# Real scans and published cases for the tests and the demo, where they lie beside the checkout.
ifneq ($(wildcard ../shared/data),)
export OPENMEDLAB_SAMPLES ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/reference),)
export OPENMEDLAB_REFERENCE ?= $(abspath ../shared/reference)
endif

.PHONY: help demo test lint typecheck clean

help:
	@echo "make demo       six clicks on a CT become a mask: demo/screenshot.png, demo/mask.nii.gz"
	@echo "make test       every check: ruff, mypy, npe2, pytest"
	@echo "make lint       ruff alone"
	@echo "make typecheck  mypy alone"
	@echo "make clean      remove .venv, caches and the demo's files"

demo: .venv/.demo-ready
	$(BIN)/openmedlab demo --out demo

test: .venv/.test-ready
	@scripts/check.sh $(BIN)

lint: .venv/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: .venv/.test-ready
	$(BIN)/mypy

clean:
	rm -rf .venv build dist demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.system-ready: scripts/system_libraries.sh
	@scripts/system_libraries.sh $(PYTHON)
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo-ready: .venv/.system-ready pyproject.toml constraints-ci.txt
	@echo "Installing the engine and napari into .venv"
	@$(PIP) -e ".[napari]"
	@touch $@

# torch first and pinned alone, so that pip takes the CPU build where it finds one.
.venv/.test-ready: .venv/.system-ready pyproject.toml constraints-ci.txt
	@echo "Installing everything and the test tools into .venv"
	@$(PIP) torch
	@$(PIP) -e ".[all,cpu,test]"
	@touch $@
