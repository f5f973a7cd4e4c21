# Everything that this project is built, tested and run with. `make help` lists it.

PYTHON ?= python3
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKSPACE ?= $(or $(ARC_WORKSPACE),workspace)
SPREAD := --numprocesses $(PROCESSES) --dist loadgroup --no-loadscope-reorder
ARCHIVE := $(WORKSPACE)/incoming/generated.zip

export DO_NOT_TRACK := 1
export ARC_WORKSPACE := $(WORKSPACE)

.DEFAULT_GOAL := help
.PHONY: help setup cycle test test-fast test-long screenshots lint format types up down status doctor compare fuzz chaos audit \
  bench lock clean

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the environment (.venv) from the locked versions

$(READY): requirements/lock.txt requirements/bootstrap.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/lock.txt requirements/bootstrap.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

cycle: $(READY) ## Run one research cycle on generated photographs (CPU, or the GPU where there is one)
	@test -f $(ARCHIVE) || $(BIN)/python -m flows.generate --preset smoke
	$(BIN)/python -m flows.research_cycle --archive $(ARCHIVE) --name generated --preset smoke

test: $(READY) ## Run the test suite, in PROCESSES=2 processes
	$(BIN)/python -m pytest $(SPREAD)

test-fast: $(READY) ## Run the tests that start no server and no worker
	$(BIN)/python -m pytest $(SPREAD) -m "not system and not long"

test-long: $(READY) ## Run the tests that take many minutes: days and nights of work, with kills in between
	$(BIN)/python -m pytest -m long

lint: $(READY) ## Check style, formatting and the rule of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## Check the types
	$(BIN)/mypy

up: $(READY) ## Start a Prefect server, its work pools, the deployments and the workers on this machine
	$(BIN)/python -m deployments.local up

down: $(READY) ## Stop all that `make up` started
	$(BIN)/python -m deployments.local down

status: $(READY) ## Show what `make up` has running
	$(BIN)/python -m deployments.local status

doctor: $(READY) ## Look at all that an installation needs, and say what to do about it
	$(BIN)/python -m deployments.doctor

fuzz: $(READY) ## Attack the readers of archives and images with 120,000 hostile ones (about 5 minutes on two cores)
	$(BIN)/python -m tests.fuzz --archives 60000 --images 60000

screenshots: $(READY) ## Take pictures of Prefect's pages for docs/ (after `make up`; with Debian's chromium, chromium-driver)
	$(BIN)/python docs/screenshots.py docs/images

compare: $(READY) ## Show the runs that were tracked with MLflow, at http://127.0.0.1:5000
	@test -f $(WORKSPACE)/tracking/mlflow.db || \
	  { echo "No run was tracked with MLflow in $(WORKSPACE): see docs/how-to/compare-runs-in-a-page.md" >&2; exit 2; }
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --workers 1 --host 127.0.0.1 --port 5000 \
	  --backend-store-uri sqlite:///$(abspath $(WORKSPACE))/tracking/mlflow.db

chaos: $(READY) ## Kill, stop, damage and starve trainings 200 times at random moments (about half an hour on two cores)
	$(BIN)/python -m tests.chaos

audit: $(READY) ## Check the locked packages against published advisories; says so where they cannot be had
	$(BIN)/python -m tests.audit

bench: $(READY) ## Measure each stage against its limit and its peers
	$(BIN)/python -m benchmarks

lock: $(READY) ## Resolve the locked versions again
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-header --no-emit-index-url --no-emit-find-links --quiet --output-file requirements/lock.txt
	$(BIN)/uv pip compile requirements/bootstrap.in --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-header --no-emit-index-url --no-emit-find-links --quiet --output-file requirements/bootstrap.txt

clean: ## Remove the environment and all caches; keeps the workspace
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
