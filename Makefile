# Every target makes what it needs: a virtual environment in .venv, with the versions of
# constraints.txt. PYTHON chooses the interpreter (3.11.4 or later).
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

.PHONY: help serve test test-slow check fix docs bench bench-quick soak train sbom clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

serve: .venv/base ## the server; HOST= and PORT=, if given, go before other settings
	@$(BIN)/reelsense serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: .venv/dev ## the tests; those of the pages need chromium and chromedriver, and are left out without
	$(BIN)/python -m pytest

test-slow: .venv/dev ## the long tests
	$(BIN)/python -m pytest -m slow --no-cov

check: .venv/dev ## format, lint, types, import laws, bandit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

fix: .venv/dev ## what format and lint can mend by themselves
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev ## docs/openapi.json anew, and the examples of the pages as tests
	$(BIN)/python -c 'import json; from reelsense.server import contract, create_app; \
	    print(json.dumps(contract.document(create_app()), indent=2))' > docs/openapi.json.part
	mv docs/openapi.json.part docs/openapi.json
	$(BIN)/python -m pytest --no-cov -m "slow or not slow" tests/test_examples.py tests/server/test_contract.py

bench-quick: .venv/dev ## ratios to PyTorch on this machine: two minutes, no dataset
	@$(BIN)/python benchmarks/quick.py

# The three hours are those of two quiet cores, the 15 GB the rivals' environments. It scores
# official test reviews: note that in docs/test-looks.md. Stopped, it goes on with the cell it was at.
bench: .venv/dev | $(DATA) ## the comparison with other servers: three hours, 15 GB
	$(PIP) --editable '.[bench]'
	$(BIN)/python benchmarks/engines.py --reviews $(DATA)
	$(BIN)/python benchmarks/serving.py --reviews $(DATA)
	$(BIN)/python benchmarks/files.py --reviews $(DATA)
	$(BIN)/python benchmarks/explaining.py --reviews $(DATA)
	$(BIN)/python benchmarks/cluster.py --reviews $(DATA)

soak: .venv/dev | $(DATA) ## half an hour of 64 clients: does the memory stay flat?
	$(BIN)/python benchmarks/soak.py --reviews $(DATA)

# Stopped at any moment and called again, it goes on where it was.
train: .venv/dev ## the model that comes along, every step (DATA=, SETS=, BASE=, RUNS=, BUNDLE=)
	@$(MAKE) --no-print-directory $(RUNS)/fair.done
	$(BIN)/reelsense export $(RUNS)/fair --data $(DATA) --evaluation-sets $(SETS) --out $(BUNDLE)
	mkdir -p $(CHECKPOINT)
	cp $(addprefix $(RUNS)/fair/,config.json model.safetensors reelsense.json tokenizer.json \
	    tokenizer_config.json) $(CHECKPOINT)

# What a server is made of: reelsense and what it needs, no more, in an environment of its own.
sbom: build/sbom.json ## what a server is made of (CycloneDX), in build/sbom.json

build/sbom.json: pyproject.toml constraints.txt
	rm -rf build/sbom
	$(PYTHON) -m venv build/sbom/serving
	build/sbom/serving/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt .
	$(PYTHON) -m venv build/sbom/tool
	build/sbom/tool/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7,<8'
	build/sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
	    --output-reproducible --of JSON -o $@.part build/sbom/serving
	mv $@.part $@
	@echo "$@ lists $$(grep -c '"purl"' $@) packages"

resumed = $(if $(wildcard $(1)/training-state.pt),--resume)

# 1,300 steps of 6,144 tokens are half an hour on two cores; all there is to read takes three times that.
$(RUNS)/read.done: | $(DATA)
	$(BIN)/reelsense pretrain --recipe recipes/default.toml --data $(DATA) \
	    $(if $(BASE),--base $(BASE)) --steps 1300 --out $(RUNS)/read $(call resumed,$(RUNS)/read)
	@touch $@

$(RUNS)/sets.jsonl: | $(DATA) $(SETS)
	$(BIN)/reelsense teach --data $(DATA) --unlabelled 0 --identity-sets 0 \
	    --evaluation-sets $(SETS) --out $@

# The edited reviews are given more than once: there are few of them.
$(RUNS)/edits.jsonl: $(RUNS)/sets.jsonl
	grep '"source": "counterfactually' $< > $@

student_learns := $(addprefix --extra $(RUNS)/,sets.jsonl edits.jsonl)

$(RUNS)/student.done: $(RUNS)/read.done $(RUNS)/edits.jsonl
	$(BIN)/reelsense train --recipe recipes/default.toml --data $(DATA) --base $(RUNS)/read \
	    $(student_learns) --out $(RUNS)/student $(call resumed,$(RUNS)/student)
	$(BIN)/reelsense export $(RUNS)/student --data $(DATA) --evaluation-sets $(SETS) \
	    --out $(RUNS)/student-bundle
	@touch $@

$(RUNS)/student-says.jsonl: $(RUNS)/student.done
	$(BIN)/reelsense teach --data $(DATA) --teacher $(RUNS)/student-bundle --unlabelled 8000 \
	    --identity-sets 500 --out $@

$(RUNS)/polished.done: $(RUNS)/student-says.jsonl
	$(BIN)/reelsense train --recipe recipes/polish.toml --data $(DATA) --base $(RUNS)/student \
	    $(student_learns) --extra $(RUNS)/student-says.jsonl \
	    --out $(RUNS)/polished $(call resumed,$(RUNS)/polished)
	@touch $@

$(RUNS)/swaps.jsonl: $(RUNS)/student-says.jsonl
	grep '"source": "sentences with swapped' $< > $@

$(RUNS)/fair.done: $(RUNS)/polished.done $(RUNS)/swaps.jsonl
	$(BIN)/reelsense train --recipe recipes/fair.toml --data $(DATA) --base $(RUNS)/polished \
	    $(addprefix --extra $(RUNS)/,sets.jsonl edits.jsonl edits.jsonl edits.jsonl swaps.jsonl \
	    swaps.jsonl swaps.jsonl swaps.jsonl) --out $(RUNS)/fair $(call resumed,$(RUNS)/fair)
	@touch $@

$(DATA):
	$(BIN)/reelsense data fetch imdb --out $(dir $(DATA))

$(SETS):
	$(BIN)/reelsense data fetch evaluation-sets --out $(dir $(SETS))

clean: ## deletes .venv
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
	@# For the axe-core that it carries; without Playwright, which is large and not used.
	@$(PIP) --no-deps axe-playwright-python
	@touch $@ .venv/base
