# Two commands do everything, set-up included:
#   make demo [PHOTO=me.jpg]   a photo -> out/ (face.json, face.glb, preview.png)
#   make test                  style, types and tests
PYTHON ?= python3
PHOTO ?=
# The public-domain portrait that the wheel of scikit-image carries.
PORTRAIT = $(shell $(BIN)/python -c "import skimage, pathlib; print(pathlib.Path(skimage.__file__).parent / 'data/astronaut.png')")
OUT ?= out
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint clean

demo: .venv/demo
	$(BIN)/python -m sdk "$(or $(PHOTO),$(PORTRAIT))" --out "$(OUT)" --preview --glb

test: lint
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing what the demo needs into .venv (once) ..."
	$(PIP) --editable '.[demo]'
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing what the tests need into .venv (once; torch is large) ..."
	$(PIP) 'torch==2.13.0'
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv out
