# Every target makes what it needs: a virtual environment in .venv, with the versions of
# constraints.txt. PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What `make train` learns from, begins with (the recipe's, if empty), writes on its way and makes.
DATA ?= data/aclImdb
SETS ?= data/evaluation-sets
BASE ?=
RUNS ?= runs
CHECKPOINT ?= checkpoints/default
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

# Stopped at any moment and called again, it goes on where it was. docs/accuracy.md says what each
# step brings and how long it takes.
train: .venv/dev
	@$(MAKE) --no-print-directory $(RUNS)/default.done
	$(BIN)/reelsense export $(RUNS)/default --data $(DATA) --out $(BUNDLE)
	mkdir -p $(CHECKPOINT)
	cp $(addprefix $(RUNS)/default/,config.json model.safetensors reelsense.json tokenizer.json \
	    tokenizer_config.json) $(CHECKPOINT)

resumed = $(if $(wildcard $(1)/training-state.pt),--resume)

$(RUNS)/plain.done: | $(DATA)
	$(BIN)/reelsense train --recipe recipes/plain.toml --data $(DATA) $(if $(BASE),--base $(BASE)) \
	    --out $(RUNS)/plain $(call resumed,$(RUNS)/plain)
	$(BIN)/reelsense export $(RUNS)/plain --data $(DATA) --out $(RUNS)/teacher
	@touch $@

$(RUNS)/read.done: | $(DATA)
	$(BIN)/reelsense pretrain --recipe recipes/default.toml --data $(DATA) \
	    $(if $(BASE),--base $(BASE)) --steps 2100 --out $(RUNS)/read $(call resumed,$(RUNS)/read)
	@touch $@

$(RUNS)/examples.jsonl: $(RUNS)/plain.done | $(SETS)
	$(BIN)/reelsense teach --data $(DATA) --teacher $(RUNS)/teacher --unlabelled 25000 \
	    --evaluation-sets $(SETS) --out $@

$(RUNS)/default.done: $(RUNS)/read.done $(RUNS)/examples.jsonl
	$(BIN)/reelsense train --recipe recipes/default.toml --data $(DATA) --base $(RUNS)/read \
	    --extra $(RUNS)/examples.jsonl --out $(RUNS)/default $(call resumed,$(RUNS)/default)
	@touch $@

$(DATA):
	$(BIN)/reelsense data fetch imdb --out $(dir $(DATA))

$(SETS):
	$(BIN)/reelsense data fetch evaluation-sets --out $(dir $(SETS))

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
