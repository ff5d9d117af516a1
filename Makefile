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

# Stopped at any moment and called again, it goes on where it was.
train: .venv/dev
	@$(MAKE) --no-print-directory $(RUNS)/polished.done
	$(BIN)/reelsense export $(RUNS)/polished --data $(DATA) --out $(BUNDLE)
	mkdir -p $(CHECKPOINT)
	cp $(addprefix $(RUNS)/polished/,config.json model.safetensors reelsense.json tokenizer.json \
	    tokenizer_config.json) $(CHECKPOINT)

resumed = $(if $(wildcard $(1)/training-state.pt),--resume)

$(RUNS)/plain.done: | $(DATA)
	$(BIN)/reelsense train --recipe recipes/plain.toml --data $(DATA) $(if $(BASE),--base $(BASE)) \
	    --out $(RUNS)/plain $(call resumed,$(RUNS)/plain)
	$(BIN)/reelsense export $(RUNS)/plain --data $(DATA) --out $(RUNS)/plain-bundle
	@touch $@

$(RUNS)/read.done: | $(DATA)
	$(BIN)/reelsense pretrain --recipe recipes/default.toml --data $(DATA) \
	    $(if $(BASE),--base $(BASE)) --steps 2100 --out $(RUNS)/read $(call resumed,$(RUNS)/read)
	@touch $@

$(RUNS)/plain-says.jsonl: $(RUNS)/plain.done | $(SETS)
	$(BIN)/reelsense teach --data $(DATA) --teacher $(RUNS)/plain-bundle --unlabelled 25000 \
	    --evaluation-sets $(SETS) --out $@

$(RUNS)/student.done: $(RUNS)/read.done $(RUNS)/plain-says.jsonl
	$(BIN)/reelsense train --recipe recipes/default.toml --data $(DATA) --base $(RUNS)/read \
	    --extra $(RUNS)/plain-says.jsonl --out $(RUNS)/student $(call resumed,$(RUNS)/student)
	$(BIN)/reelsense export $(RUNS)/student --data $(DATA) --out $(RUNS)/student-bundle
	@touch $@

$(RUNS)/student-says.jsonl: $(RUNS)/student.done | $(SETS)
	$(BIN)/reelsense teach --data $(DATA) --teacher $(RUNS)/student-bundle --unlabelled 12500 \
	    --evaluation-sets $(SETS) --out $@

$(RUNS)/edits.jsonl: $(RUNS)/student-says.jsonl
	grep '"source": "counterfactually' $< > $@

# The edited reviews are given three times: there are few of them.
$(RUNS)/polished.done: $(RUNS)/student-says.jsonl $(RUNS)/edits.jsonl
	$(BIN)/reelsense train --recipe recipes/polish.toml --data $(DATA) --base $(RUNS)/student \
	    $(addprefix --extra ,$(RUNS)/student-says.jsonl $(RUNS)/edits.jsonl $(RUNS)/edits.jsonl) \
	    --out $(RUNS)/polished $(call resumed,$(RUNS)/polished)
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
