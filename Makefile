# Every target works as the first command after a clone: it makes the virtual environment itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos -name '*.proto')
DAYS ?= 14
ADDRESS ?= 127.0.0.1:7070
NODES ?= 1
BROKERS ?= 1
SERVICES ?= 1
STATE ?=
FAULTS ?= 40
SEED ?=
STACK_TESTS ?= tests
DB ?= var/flights-$(DAYS)-days.db
# What shows that stubs and platform work with other versions of what they are run by.
MATRIX_TESTS := -k "not sqlite and not envoy and not stack and not fault" tests/contract/test_golden_messages.py \
  tests/contract/test_old_events.py tests/journey/test_conformance.py

.PHONY: help run test test-stack test-faults drill test-clients test-matrix stack stack-down check bench bench-stack format lock image clean

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "eventspine needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.locked: constraints.txt constraints-data.txt | $(VENV)/.python
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r constraints-data.txt
	@touch $@

$(VENV)/.ready: $(VENV)/.locked pyproject.toml $(PROTOS)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(VENV)/.ready ## Replay real flights through the platform and check every total (DAYS=14, DB=FILE; STACK=1: that of make stack)
	$(BIN)/python -m devstack.tour --days $(DAYS) $(if $(STACK),--address $(ADDRESS),--db $(DB))

test: $(VENV)/.ready ## Run all tests that need no real servers, files shared out over two processes
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not stack and not thorough and not clients and not kills" tests

test-stack: $(VENV)/.ready ## Run the tests on real Cassandra and Kafka (needs Java 17 and Maven), and long ones (STACK_TESTS=FOLDERS)
	$(BIN)/python -m devstack.stack fetch || echo "the tests on real servers will be skipped"
	$(BIN)/python -m pytest -q -m "(stack or thorough) and not kills" $(STACK_TESTS)

test-faults: $(VENV)/.ready ## Strike the real stack down under load, 40 times, and a model of it 10,000 times (FAULTS=n, SEED=n)
	FAULTS=$(FAULTS) SEED=$(SEED) $(BIN)/python -m pytest -q -s -m kills tests/faults

drill: $(VENV)/.ready ## Lose a node, then a whole keyspace twice, and bring all of it back, timed
	$(BIN)/python -m devstack.drill

test-clients: $(VENV)/.ready ## Build the clients in Go, Java and TypeScript and run their tests
	$(BIN)/python -m pytest -q -m clients tests/clients

test-matrix: $(VENV)/.ready ## Try the wheel with the oldest and the newest supported grpcio and protobuf
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	rm -rf var/matrix && mkdir -p var/matrix/source
	git ls-files -co --exclude-standard | tar -cT - | tar -x -C var/matrix/source
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps \
	  --no-build-isolation -w var/matrix var/matrix/source
	for resolution in lowest-direct highest; do \
	  home=var/matrix/$$resolution; \
	  $(BIN)/uv venv -q --python $(BIN)/python $$home; \
	  $(BIN)/uv pip install -q --python $$home --resolution $$resolution -r pyproject.toml var/matrix/*.whl; \
	  $(BIN)/uv pip install -q --python $$home --upgrade typer pytest pytest-asyncio pytest-timeout; \
	  $(BIN)/uv pip list -q --python $$home | grep -E '^(grpcio|protobuf) '; \
	  $$home/bin/python -m pytest -q $(MATRIX_TESTS); \
	done

stack: $(VENV)/.ready ## Run the real stack until Ctrl-C (NODES=3, BROKERS=3, SERVICES=2, STATE=DIR)
	exec $(BIN)/python -m devstack.stack up --nodes $(NODES) --brokers $(BROKERS) \
	  --command-services $(SERVICES) --processors $(SERVICES) --query-services $(SERVICES) \
	  $(STATE:%=--state %)

stack-down: $(VENV)/.ready ## Stop what a stack that died left behind, or the one of STATE=DIR
	$(BIN)/python -m devstack.stack down $(STATE:%=--state %)

check: $(VENV)/.ready ## Check style, types, import direction and the contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p command_svc -p processor_svc -p query_svc -p domains -p devstack -p bench \
	  -p eventspine.domain -p eventspine.storage -p eventspine.rpc -p eventspine.client \
	  -p eventspine.process
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against tests/contract/released.binpb
	$(BIN)/python -m devstack.edge.validate

bench: $(VENV)/.ready ## Measure the ratios of the bench suite and print them
	$(BIN)/python -m bench

bench-stack: $(VENV)/.ready ## Measure the ratios on real Cassandra, Kafka and Envoy (NODES=3 for P4)
	$(BIN)/python -m bench.stack --nodes $(NODES)

format: $(VENV)/.ready ## Format code and protos
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .
	$(BIN)/buf format -w protos

lock: $(VENV)/.python ## Resolve the dependencies anew into constraints.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -o constraints.txt

image: $(VENV)/.ready ## Freeze the contract that buf breaking compares with (at a release)
	$(BIN)/buf build protos --exclude-source-info -o tests/contract/released.binpb

clean: ## Delete the environment, generated code and local data
	rm -rf $(VENV) var build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find gen -mindepth 1 -not -name .gitkeep -delete
