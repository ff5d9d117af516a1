# Every target installs what it needs into the virtual environment .venv, in the versions of
# constraints.txt. PYTHON selects the interpreter (3.11.4 or later).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# `make train`: recipe, data, pre-trained encoder (empty: that of the recipe) and output folders.
MODEL ?= default
DATA ?= data/aclImdb
SETS ?= data/evaluation-sets
BASE ?=
RUNS ?= runs
BUNDLE ?= $(RUNS)/$(MODEL)-bundle

.PHONY: help serve test-fast test test-slow test-next check hooks fix requirements docs wheel bench bench-quick soak train sbom release clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

serve: .venv/base ## start the server; HOST= and PORT= override other settings
	@$(BIN)/reelsense serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

# Tests of every package that need neither browsers nor servers nor training runs.
FAST := tests/text tests/tables tests/datasets tests/test_bundle.py tests/test_registry.py \
    tests/test_files.py tests/test_onnx_files.py tests/jobs/test_queries.py tests/feedback \
    $(addprefix tests/inference/test_,tokenizer.py batching.py cache.py calibration.py classifier.py) \
    $(addprefix tests/evaluation/test_,metrics.py selective.py thresholds.py slices.py calibrate.py) \
    tests/bulk/test_output.py tests/training/test_recipe.py \
    tests/training/test_model.py tests/cluster/test_parts.py tests/cli/test_progress.py \
    tests/cli/test_models.py tests/server/test_settings.py tests/server/api/test_v1.py \
    tests/server/api/test_health.py tests/server/middleware/test_request_context.py \
    tests/benchmarks/test_sections.py

test-fast: .venv/dev ## run the quick tests of every package, without coverage
	$(BIN)/python -m pytest -m "not slow" $(FAST)

test: .venv/dev ## run all tests except the slow ones, with coverage; page tests need chromium and chromedriver
	$(BIN)/python -m pytest --cov=reelsense --cov-report=term:skip-covered

# Starts PostgreSQL (Debian: apt install postgresql), or uses the database in REELSENSE_TEST_DATABASE;
# the last lines of the output say which, and why tests were skipped.
test-slow: .venv/dev ## run the slow tests, and all attacks
	$(BIN)/python -m pytest -m "slow or security" -rs

# Installs versions that pyproject.toml and constraints.txt exclude, in a separate environment. The
# environment is rebuilt each time: "newest" changes without a change of a file that make could check.
test-next: ## run the connection tests with the newest waitress and gunicorn, in build/next; may fail
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

check: .venv/dev ## check formatting, lint, types, import rules, spelling, security (bandit)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

hooks: .venv/dev ## run the checks before each commit (pre-commit)
	$(BIN)/pre-commit install

fix: .venv/dev ## fix formatting and lint errors
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The image is built from these files: every version is that of constraints.txt, with its hashes.
UV_COMPILE := pip compile --quiet --constraint constraints.txt --python-version 3.13 \
    --python-platform linux --generate-hashes --no-emit-index-url --no-annotate --no-header

requirements: .venv/dev ## write the hashed requirements of the image, in deploy/
	$(BIN)/uv $(UV_COMPILE) --extra serve --extra redis --extra postgres pyproject.toml \
	    --output-file deploy/requirements.txt
	echo hatchling | $(BIN)/uv $(UV_COMPILE) - --output-file deploy/requirements-build.txt

docs: .venv/dev ## write docs/openapi.json, test the examples in the documentation, build the site in build/site
	$(BIN)/python -c 'import json; from reelsense.server.api import openapi; from reelsense.server.app import create_app; \
	    app = create_app(); print(json.dumps(openapi.document(app), indent=2)); \
	    app.extensions["reelsense"].models.close()' > docs/openapi.json.part
	mv docs/openapi.json.part docs/openapi.json
	$(BIN)/python -m pytest tests/test_examples.py tests/server/api/test_openapi.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs . build/site

wheel: .venv/dev ## build the sdist and the wheel in dist/
	$(BIN)/python -m build --outdir dist

bench-quick: .venv/dev ## compare the speed with PyTorch on this machine: two minutes, no dataset
	@$(BIN)/python benchmarks/quick.py

# Three hours on two idle cores; 15 GB for the environments of the other servers. Scores official
# test reviews: record that in docs/test-set-uses.md. If stopped, it resumes at the current measurement.
bench: .venv/dev | $(DATA) ## compare with other servers: three hours, 15 GB
	$(PIP) --editable '.[bench]'
	$(BIN)/python benchmarks/engines.py --reviews $(DATA)
	$(BIN)/python benchmarks/serving.py --reviews $(DATA)
	$(BIN)/python benchmarks/files.py --reviews $(DATA)
	$(BIN)/python benchmarks/explaining.py --reviews $(DATA)
	$(BIN)/python benchmarks/cluster.py --reviews $(DATA)

soak: .venv/dev | $(DATA) ## measure memory over half an hour with 64 clients
	$(BIN)/python benchmarks/soak.py --reviews $(DATA)

# If stopped, the same command resumes.
train: .venv/dev | $(DATA) $(SETS) ## train a model: MODEL=default or accurate (DATA=, SETS=, BASE=, RUNS=, BUNDLE=)
	$(BIN)/reelsense train --recipe recipes/$(MODEL).toml --data $(DATA) --evaluation-sets $(SETS) \
	    $(if $(BASE),--base-model $(BASE)) --output $(RUNS)/$(MODEL) --resume
	$(BIN)/reelsense export $(RUNS)/$(MODEL) --data $(DATA) --evaluation-sets $(SETS) --output $(BUNDLE) --overwrite \
	    --title 'Is this review positive or negative?' --unit review --examples recipes/examples.json

# Lists a server (the extra [serve]) in a separate environment, without development tools.
sbom: build/sbom.json ## write the software bill of materials (CycloneDX) to build/sbom.json

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

release: .venv/dev ## make a release (VERSION=x.y.z): changelog, version, tested wheel and sdist, tag; DRY_RUN=1 restores all files
	$(BIN)/python scripts/release.py $(if $(DRY_RUN),--dry-run) $(VERSION)

$(DATA):
	$(BIN)/reelsense data fetch imdb --output $(dir $(DATA))

$(SETS):
	$(BIN)/reelsense data fetch evaluation-sets --output $(dir $(SETS))

clean: ## delete .venv
	rm -rf .venv

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# The stamps are written last, so an interrupted installation is repeated.
.venv/base: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing reelsense with its server into .venv (first run only)"
	@$(PIP) --editable '.[serve]'
	@touch $@

.venv/dev: .venv/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing reelsense with training and development tools into .venv (first run only)"
	@$(PIP) --editable '.[train,dev]'
	@# For the axe-core that it contains; without Playwright, which is large and unused.
	@$(PIP) --no-deps axe-playwright-python
	@touch $@ .venv/base
