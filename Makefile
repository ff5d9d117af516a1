# Every target makes what it needs: a virtual environment in .venv, with the versions of
# constraints.txt. PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What `make train` learns from, begins with (the recipe's, if empty) and makes.
DATA ?= data/aclImdb
BASE ?=
CHECKPOINT ?= runs/default
BUNDLE ?= src/reelsense/models/default

.PHONY: serve test test-slow check fix train clean

# HOST and PORT come from the environment: PORT=5050 make serve
serve: .venv/base
	@$(BIN)/reelsense serve

test: .venv/dev
	$(BIN)/python -m pytest

test-slow: .venv/dev
	$(BIN)/python -m pytest -m slow --no-cov

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Stopped at any moment and called again, it goes on where it was.
train: .venv/dev
	test -d $(DATA) || $(BIN)/reelsense data fetch imdb --out $(dir $(DATA))
	$(BIN)/reelsense train --recipe recipes/default.toml --data $(DATA) $(if $(BASE),--base $(BASE)) \
	    --out $(CHECKPOINT) $(if $(wildcard $(CHECKPOINT)/training-state.pt),--resume)
	$(BIN)/reelsense export $(CHECKPOINT) --data $(DATA) --out $(BUNDLE)

clean:
	rm -rf .venv

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# The stamps are written last: an install that was interrupted is done again.
.venv/base: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing reelsense and what it needs into .venv (once)"
	@$(PIP) --editable .
	@touch $@

.venv/dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing reelsense with its tools for training and development into .venv (once)"
	@$(PIP) --editable '.[train,dev]'
	@touch $@ .venv/base
