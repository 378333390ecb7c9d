# Needs git, make and Python 3.11 or newer; everything else is installed into .venv.
# Another interpreter: make test PYTHON=/path/to/python

BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
LOCKED := install --prefer-binary --require-hashes
ITSELF := install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' pyproject.toml
JUDGES := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
	tests/judges/outside/requirements.in
JOBS ?= 3
TESTS ?=
SECONDS ?= 120
KILLS ?= 40
SEED ?=
DATA ?= ../shared/data

export PIP_ROOT_USER_ACTION = ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo serve test lint format bench faults hosts docs judges replay routes demand manifests pictures snapshot lock clean
MAKEFLAGS += --no-print-directory

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: .venv/.runtime ## Create a demo shop, play a day in it over stdio, verify the record
	@$(BIN)/python -m clients.demo

serve: .venv/.runtime ## Serve a demo shop over HTTP on loopback: seven servers, sign-in, console
	@$(BIN)/python -m clients.serve

test: lint ## Lint, types and the whole test suite (TESTS=tests/orders for a part)
	@echo "Testing"
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: .venv/.dev ## Style, formatting and types
	@echo "Checking style, formatting and types"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "Run 'make format'."; exit 1; }
	@$(BIN)/mypy --no-error-summary

format: .venv/.dev ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

bench: .venv/.dev ## Measure calls beside the bare SDK, start-up, growth, audit, search (QUICK=--quick, MARKDOWN=FILE)
	@$(BIN)/python -m benchmarks $(QUICK) $(if $(MARKDOWN),--markdown $(MARKDOWN))

faults: .venv/.dev ## Callers over HTTP against servers that die, on both databases (SECONDS=600 KILLS=200 SEED=1)
	@$(BIN)/python -m tests.faults --both --seconds $(SECONDS) --kills $(KILLS) $(if $(SEED),--seed $(SEED))

hosts: .venv/.dev ## Several hosts as network namespaces, cut off, restarted, promoted (needs root, iproute2, nginx)
	@$(BIN)/python -m tests.hosts

judges: .venv/.dev .venv-judges/.installed ## Judges of others that need an environment of their own (.venv-judges)
	@$(BIN)/python -m tests.judges.outside .venv-judges

replay: .venv/.dev ## Replay the service tasks of a whole shop (DATA=folder of tau2-retail, demand, vrp)
	@$(BIN)/python -m tests.judges.tau2 --tasks $(DATA)/tau2-retail/tasks_train.jsonl --probes $(DATA)/tau2-retail/probes.jsonl

routes: .venv/.dev ## Plan published routing problems with both engines, against the best known
	@for engine in default pyvrp; do \
		$(BIN)/python -m benchmarks.routing --instances $(DATA)/vrp --bks $(DATA)/vrp/bks.csv --engine $$engine --seconds 5 || exit 1; \
	done

demand: .venv/.dev ## Forecast and reorder through a year of real demand
	@$(BIN)/python -m benchmarks.demand --data $(DATA)/demand

docs: .venv/.runtime ## Write the reference from the servers themselves
	@$(BIN)/python -m clients.docs
	@$(BIN)/shop db grants --write

manifests: .venv/.dev ## Render the Helm chart into deploy/kubernetes for those who use no Helm
	@$(BIN)/python -m tests.deploy.render

pictures: .venv/.dev ## Take the pictures of console and widgets anew, for the documentation
	@$(BIN)/python -m tests.console.pictures
	@$(BIN)/python -m tests.widgets.pictures

snapshot: .venv/.dev ## Freeze what each server offers, for the contract tests
	@$(BIN)/python -m tests.contract.snapshot

lock: .venv/.dev ## Resolve the dependencies anew (UPGRADE=--upgrade for newer ones)
	@$(PIP) install uv
	@$(COMPILE) --group build $(UPGRADE) --output-file requirements.lock
	@$(COMPILE) --group dev $(UPGRADE) --constraint requirements.lock --output-file requirements-dev.lock
	@$(JUDGES) $(UPGRADE) --output-file tests/judges/outside/requirements.lock

clean: ## Remove what was installed, built and cached
	@rm -rf .venv .venv-judges build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/node/node_modules tests/node/.lock
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.runtime: requirements.lock pyproject.toml | .venv/.created
	@echo "Installing what a shop needs into .venv (once)"
	@$(PIP) $(LOCKED) -r requirements.lock
	@$(PIP) $(ITSELF)
	@touch $@

.venv/.dev: requirements-dev.lock requirements.lock pyproject.toml | .venv/.created
	@echo "Installing what the tests need into .venv (once)"
	@$(PIP) $(LOCKED) -r requirements-dev.lock
	@$(PIP) $(ITSELF)
	@touch .venv/.runtime $@

.venv-judges/.installed: tests/judges/outside/requirements.lock | .venv/.created
	@echo "Installing the judges into .venv-judges (once)"
	@$(BIN)/python -m venv --clear .venv-judges
	@.venv-judges/bin/python -m pip -qq --disable-pip-version-check --no-input $(LOCKED) -r $<
	@touch $@

# The first interpreter that is new enough and can make a virtual environment with pip in it.
.venv/.created:
	@for python in $(or $(PYTHON),python3.11 python3 python3.14 python3.13 python3.12 python); do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			"$$python" -m venv --clear .venv && touch $@; exit; \
		fi; \
	done; \
	echo "No Python 3.11 or newer with venv and pip was found$(if $(PYTHON), at $(PYTHON))." >&2; \
	echo "Install one (on Debian: python3 and python3-venv) or name it: make PYTHON=/path/to/python" >&2; \
	exit 1
