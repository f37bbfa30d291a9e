# make demo | test | lint | bench | audit | gpu: each sets the machine up first (a .venv beside this file) and does nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
endif

.PHONY: venv demo test lint bench audit gpu clean
.DEFAULT_GOAL := demo

venv: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt requirements-ray.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: venv
	$(BIN)/python inference.py --image_to_image True
	$(BIN)/python inference.py

test: venv
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv
	$(BIN)/python inference.py --benchmark $(FLAGS)

# Known vulnerabilities of the pinned packages, and of those that they bring; asks PyPI, so it needs the internet.
audit: venv
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/python -m pip_audit --strict -r requirements.txt

# insightface depends on the CPU onnxruntime, which must not lie beside onnxruntime-gpu: install the rest, swap the two.
gpu: $(VENV)/installed-gpu

$(VENV)/installed-gpu: $(VENV)/installed requirements-gpu.txt
	$(BIN)/python -m pip uninstall --quiet --yes onnxruntime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-gpu.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-audit .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/results
