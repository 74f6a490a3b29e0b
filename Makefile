# Each target sets up what it needs. Start with `make demo` or `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
SOURCES := services sdk examples benchmarks integration_tests tools conftest.py
TESTS ?=
JOBS ?= 2

.PHONY: help setup demo up down test check format protos protos-check bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s'|'

setup: ## prepare .venv with the flyte and hangar commands; nothing to do takes no time
	@tools/setup.sh

demo: ## train models on handwritten digits, through all the services, on this machine
	@tools/setup.sh platform
	@examples/digits/demo.sh

up: setup ## run the whole platform in containers, with PostgreSQL and S3, on this host's Docker Engine
	@deploy/up.sh

down: ## stop what `make up` started, and keep its data; VOLUMES=1 removes the data
	@VOLUMES=$(VOLUMES) deploy/down.sh

test: setup ## run every test, JOBS=2 at a time; TESTS="path -k word" runs some, one by one
	@$(BIN)/python -m pytest $(or $(TESTS),--numprocesses $(JOBS))

check: setup ## format, lint, types, import contracts, protos
	@tools/check.sh

format: setup ## format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet $(wildcard $(SOURCES)) || true
	@$(BIN)/ruff format --quiet $(wildcard $(SOURCES))
	@$(BIN)/buf format -w

protos: setup ## format and lint the protos, and generate the stubs
	@$(BIN)/buf format -w
	@$(BIN)/buf lint
	@$(BIN)/python tools/protos.py

protos-check: setup ## fail when the stubs are out of date
	@$(BIN)/python tools/protos.py --check

bench: setup ## measure, next to Ray and Temporal; BENCH="--quick --only hangar" narrows it
	@$(BIN)/python -m benchmarks $(BENCH)

lock: setup ## pin again what pyproject.toml files ask for; UPGRADE=1 takes the newest versions
	@$(BIN)/uv pip compile pyproject.toml sdk/pyproject.toml protos/pyproject.toml --group dev --universal \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--no-emit-package hangar-sdk --no-emit-package hangar-protos \
		$(if $(UPGRADE),--upgrade) --quiet --output-file constraints.txt
	@! grep -nE '://|^-' constraints.txt

clean: ## remove .venv, caches and the peers' environments
	@rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
