# Every target makes what it needs: a virtual environment in .venv, with the versions of
# constraints.txt. PYTHON chooses the interpreter (3.11.4 or later).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The recipe of `make train`, what it learns from, begins with (the recipe's, if empty) and writes.
MODEL ?= default
DATA ?= data/aclImdb
SETS ?= data/evaluation-sets
BASE ?=
RUNS ?= runs
BUNDLE ?= $(RUNS)/$(MODEL)-bundle

.PHONY: help serve test-fast test test-slow test-next check hooks fix docs bench bench-quick soak train sbom release clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

serve: .venv/base ## the server; HOST= and PORT=, if given, go before other settings
	@$(BIN)/reelsense serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

# Tests of every package that need neither browsers nor servers nor training runs.
FAST := tests/text tests/tables tests/datasets tests/test_bundle.py tests/test_registry.py \
    tests/test_files.py tests/test_onnx_files.py tests/jobs/test_queries.py \
    $(addprefix tests/inference/test_,tokenizer.py batching.py cache.py calibration.py classifier.py) \
    $(addprefix tests/evaluation/test_,metrics.py selective.py thresholds.py slices.py calibrate.py) \
    tests/bulk/test_output.py tests/training/test_recipe.py tests/training/test_batches.py \
    tests/training/test_model.py tests/cluster/test_parts.py tests/cli/test_progress.py \
    tests/cli/test_models.py tests/server/test_settings.py tests/server/api/test_v1.py \
    tests/server/api/test_health.py tests/server/middleware/test_request_context.py \
    tests/benchmarks/test_sections.py

test-fast: .venv/dev ## quick tests of every package, without coverage
	$(BIN)/python -m pytest -m "not slow" $(FAST)

test: .venv/dev ## all but the slow tests, with coverage; tests of the pages need chromium and chromedriver
	$(BIN)/python -m pytest --cov=reelsense --cov-report=term:skip-covered

test-slow: .venv/dev ## the slow tests
	$(BIN)/python -m pytest -m slow

# The versions that pyproject.toml and constraints.txt exclude, in an environment of its own. The
# environment is made anew each time: "newest" changes without a file that make could look at.
test-next: ## the connection tests with the newest waitress and gunicorn, in build/next; may fail
	rm -rf build/next
	$(PYTHON) -m venv build/next
	grep -vE '^(waitress|gunicorn)==' constraints.txt > build/next/constraints.txt
	build/next/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint build/next/constraints.txt --editable '.[serve]' onnx pytest
	build/next/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --no-deps \
	    waitress gunicorn
	build/next/bin/python -m pip list | grep -E '^(waitress|gunicorn) '
	build/next/bin/python -m pytest -m "slow or not slow" \
	    tests/server/process/test_connections.py tests/server/process/test_process.py \
	    tests/server/process/test_faults.py

check: .venv/dev ## format, lint, types, import rules, spelling, bandit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

hooks: .venv/dev ## run the checks before each commit (pre-commit)
	$(BIN)/pre-commit install

fix: .venv/dev ## what format and lint can mend by themselves
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev ## docs/openapi.json anew, and the examples of the pages as tests
	$(BIN)/python -c 'import json; from reelsense.server.api import openapi; from reelsense.server.app import create_app; \
	    print(json.dumps(openapi.document(create_app()), indent=2))' > docs/openapi.json.part
	mv docs/openapi.json.part docs/openapi.json
	$(BIN)/python -m pytest tests/test_examples.py tests/server/api/test_openapi.py

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

# Stopped at any moment and called again, it continues where it was.
train: .venv/dev | $(DATA) $(SETS) ## train a model: MODEL=default or accurate (DATA=, SETS=, BASE=, RUNS=, BUNDLE=)
	$(BIN)/reelsense train --recipe recipes/$(MODEL).toml --data $(DATA) --evaluation-sets $(SETS) \
	    $(if $(BASE),--base-model $(BASE)) --output $(RUNS)/$(MODEL) --resume
	$(BIN)/reelsense export $(RUNS)/$(MODEL) --data $(DATA) --evaluation-sets $(SETS) --output $(BUNDLE)

# Only the dependencies of a server (the extra [serve]), in an environment of its own.
sbom: build/sbom.json ## what a server is made of (CycloneDX), in build/sbom.json

build/sbom.json: pyproject.toml constraints.txt
	rm -rf build/sbom
	$(PYTHON) -m venv build/sbom/serving
	build/sbom/serving/bin/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt '.[serve]'
	$(PYTHON) -m venv build/sbom/tool
	build/sbom/tool/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7,<8'
	build/sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
	    --output-reproducible --of JSON -o $@.part build/sbom/serving
	mv $@.part $@
	@echo "$@ lists $$(grep -c '"purl"' $@) packages"

release: .venv/dev ## a release (VERSION=x.y.z): changelog, version, wheel and sdist tested, tag; DRY_RUN=1 keeps nothing
	$(BIN)/python scripts/release.py $(if $(DRY_RUN),--dry-run) $(VERSION)

$(DATA):
	$(BIN)/reelsense data fetch imdb --output $(dir $(DATA))

$(SETS):
	$(BIN)/reelsense data fetch evaluation-sets --output $(dir $(SETS))

clean: ## deletes .venv
	rm -rf .venv

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# The stamps are written last: an install that was interrupted is done again.
.venv/base: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing reelsense with its server into .venv (once)"
	@$(PIP) --editable '.[serve]'
	@touch $@

.venv/dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing reelsense with its tools for training and development into .venv (once)"
	@$(PIP) --editable '.[train,dev]'
	@# For the axe-core that it carries; without Playwright, which is large and not used.
	@$(PIP) --no-deps axe-playwright-python
	@touch $@ .venv/base
