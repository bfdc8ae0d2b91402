# Two commands do all set-up: `make demo` and `make test`.
# PYTHON picks the interpreter the virtual environment is made with (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Where nothing is kept, each of a hundred daemons that the tests start is compiled anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz crash power lint format bench million lock schema docs clean

help: ## Show what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.runtime ## Run the relay against a simulated SES on this machine, no AWS account needed
	@$(BIN)/python -m relay demo $(DEMO_ARGS)

test: $(VENV)/.dev ## Run the whole test suite: PYTEST_ARGS="-k smtp", or "-n 0 --pdb tests/unit"
	@$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

fuzz: $(VENV)/.dev ## Play a million fuzzed SMTP sessions: FUZZ_ARGS="--seconds 60", or files to play again
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)
FUZZ_ARGS ?= --sessions 1000000

crash: $(VENV)/.dev ## Kill the relay N times and account for every mail; then find relays broken on purpose
	@$(BIN)/python -m tests.crash --kills $(N) $(CRASH_ARGS)
	@$(BIN)/python -m tests.crash --sabotage $(CRASH_ARGS)
N ?= 480

power: $(VENV)/.dev ## Cut the power at every sync of a relay at work (needs strace); then the same for broken ones
	@$(BIN)/python -m tests.power $(POWER_ARGS)
	@$(BIN)/python -m tests.power --sabotage $(POWER_ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check relay tests bench
	$(BIN)/ruff format --check relay tests bench
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.dev ## Rewrite the code in the one style
	$(BIN)/ruff check --fix relay tests bench
	$(BIN)/ruff format relay tests bench

bench: $(VENV)/.dev ## Measure what a message costs beside the alternatives: BENCH_ARGS="--only whole" (needs nginx, smtp-source)
	$(BIN)/python -m bench $(BENCH_ARGS)

million: $(VENV)/.dev ## Start the daemon on a million queued messages; fails when a bound is not kept
	$(BIN)/python -m bench.million $(MILLION_ARGS)

schema: $(VENV)/.dev ## Write config/relay.schema.json from the model
	$(BIN)/python -m relay.config.schema > config/relay.schema.json

docs: $(VENV)/.runtime ## Write docs/metrics.md and docs/logs.md from the code
	$(BIN)/python -m relay.observe.reference > docs/metrics.md
	$(BIN)/python -m relay.observe.events > docs/logs.md

lock: ## Resolve the dependencies again and pin them with hashes
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip --quiet install uv
	$(VENV)-lock/bin/uv pip compile $(LOCK) --output-file requirements-dev.lock --group dev pyproject.toml
	$(VENV)-lock/bin/uv pip compile $(LOCK) --output-file requirements.lock --constraint requirements-dev.lock pyproject.toml
	$(VENV)-lock/bin/uv pip compile $(LOCK) --output-file requirements-build.lock --constraint requirements-dev.lock --group build
	rm -rf $(VENV)-lock
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--custom-compile-command "make lock"

clean: ## Remove what was made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* \
		tests/fuzz/grown tests/system/nodemailer/node_modules

# A stamp, not the interpreter in it: half an environment must not pass for a whole one.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	@echo "making $(VENV) (once)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The build backend comes from a lock too, so nothing unpinned is ever installed.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/.made
	@echo "installing what the relay needs (once)"
	@$(PIP) install --require-hashes -r requirements-build.lock -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "installing what the tests need (once)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
