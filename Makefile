# What passes here passes in CI: .ci/run calls these targets and nothing else.
# Every target sets up its own virtual environment when there is none; it needs Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := schemas topics actors views sdk
PORT ?= 9092
SEEDS ?=
WORLDS ?= 200
MINUTES ?= 5
INPUTS ?= 1000000
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo bench check lint types format test unit histories simulation broker kafka wheel
.PHONY: chaos fuzz jaeger records pages docs clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## Set up the virtual environment with all that tests need

demo: $(VENV)/.run ## Run a hundred orders while worker and engine are killed
	$(BIN)/python -m examples.orders.demo

bench: $(VENV)/.dev ## Measure, and print the tables
	$(BIN)/python -m benchmarks

check: lint types ## The quick round: format, lint, types, unit and house tests
	$(BIN)/pytest -n 2 tests/unit tests/house tests/parity

lint: $(VENV)/.dev ## Format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Check the types: all with mypy, calls of users with pyright too (needs Node.js)
	$(BIN)/mypy
	$(BIN)/pyright

format: $(VENV)/.dev ## Format, and mend what the linter can mend safely
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(VENV)/.dev ## Every test; those with Kafka need Java and Maven, or PERDURE_TEST_KAFKA=host:port
	$(BIN)/pytest -n 2 tests/unit tests/house tests/parity tests/histories tests/simulation tests/embedded tests/examples
	$(BIN)/pytest -n 2 --dist loadgroup tests/broker tests/jaeger tests/web

unit: $(VENV)/.dev ## The unit tests, and our names against Temporal's
	$(BIN)/pytest tests/unit tests/parity

histories: $(VENV)/.dev ## Replay the golden histories
	$(BIN)/pytest tests/histories

simulation: $(VENV)/.dev ## The simulated world: its tests, then WORLDS seeds (SEEDS=1,2,3: just those)
	SEEDS=$(SEEDS) $(BIN)/pytest tests/simulation
	$(if $(SEEDS),,$(BIN)/python -m tests.simulation --seeds $(WORLDS))

broker: $(VENV)/.dev ## The tests on a real Kafka
	$(BIN)/pytest tests/broker

chaos: $(VENV)/.dev ## Kill, freeze and cut off real processes on a real Kafka (MINUTES=60, SEED=1: that one again)
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.dev ## Foreign bytes for every decoder and a live shard (INPUTS=1000000, SEED=1: that one again)
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

kafka: $(VENV)/.dev ## Run one Kafka broker until Ctrl-C (PORT=9092; needs Java and Maven)
	$(BIN)/python -m tests.broker.kafka_broker --port $(PORT)

jaeger: .cache/jaeger-1.48.0 ## Build the Jaeger that the trace tests look into (needs Go, takes two minutes)

.cache/jaeger-1.48.0:
	GOBIN="$(CURDIR)/.cache" go install github.com/jaegertracing/jaeger/cmd/all-in-one@v1.48.0
	mv .cache/all-in-one $@

wheel: $(VENV)/.dev ## Build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

records: $(VENV)/.dev ## Keep schemas and golden records as those of the version that is not out yet
	$(BIN)/python -c "from perdure_schemas.fingerprints import keep; keep()"
	$(BIN)/python -m tests.histories.golden_records
	$(BIN)/python -m tests.histories.golden_logs

pages: $(VENV)/.dev ## Make the tables of docs/*.md, and the typed calls of local activities
	$(BIN)/python -m tests.pages

docs: $(VENV)/.dev ## Build the site of the pages into build/site; a broken link fails it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean: ## Remove caches and built things, not the virtual environment
	rm -rf build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .perdure

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Perdure needs Python 3.11 or newer; $(PYTHON) is older. Name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "$(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)."; rm -rf $(VENV); exit 1; }

$(VENV)/.run: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run
