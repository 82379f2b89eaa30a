# `make` alone says what there is. Needs python3 (3.11 to 3.13) and make, nothing else: the first use of a target sets up .venv.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
# Everything is started as `python -m`: the scripts in .venv hold an absolute path, which breaks when the checkout is moved.
PY := $(BIN)/python
READY := $(VENV)/.ready
LOCK_VENV := .venv-lock
AUDIT_VENV := .venv-audit
AUDIT := packaging/audit/requirements.txt
UV := uv==0.13.9
# Programs that read exports, each in an environment of its own: they need other versions of packages than this one does.
PEERS_VENV := .venv-peers
PEERS := freqtrade=freqtrade==2026.9 nautilus=nautilus_trader==1.221.0
# Makes the changes that the tests have to notice. It brings a terminal interface, so it has an environment of its own.
MUTATE_VENV := .venv-mutate
MUTMUT := mutmut==3.6.0

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
  echo "error: '$(PYTHON)' is not Python 3.11, 3.12 or 3.13; install one and name it, for example: make demo PYTHON=python3.12" >&2; exit 1; }

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test test-fast fuzz model soak power-loss mutate peers check format bench site dist audit canary lock clean

help: ## this list
	@echo 'make TARGET [PYTHON=python3.12]'
	@sed -n 's/^\([a-z-]*\):.*## /  \1 | /p' Makefile | column -t -s '|' 2>/dev/null || sed -n 's/^\([a-z-]*\):.*## /  \1: /p' Makefile

# The stamp is the last thing a set-up writes, so one that was killed is not taken for finished and starts anew.
# Through a link, `venv --clear` would empty the environment of another checkout.
$(READY): requirements.lock pyproject.toml
	@[ ! -L $(VENV) ] || { echo "error: $(VENV) is a link, and a set-up would empty what it points to; remove the link, then try again" >&2; exit 1; }
	@$(CHECK_PYTHON)
	@echo "Setting up $(VENV) (once for each change of requirements.lock or pyproject.toml; a minute or two) ..."
	@rm -f $(READY)
	@$(PYTHON) -m venv --clear $(VENV) || { echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install -qq --require-hashes -r requirements.lock
	@$(PY) -m pip install -qq --no-build-isolation --no-deps --editable .
	@touch $(READY)
	@echo "$(VENV) is ready."

setup: $(READY) ## set up .venv from requirements.lock

demo: $(READY) ## load, check and combine a month of a simulated exchange; ends by itself
	@$(PY) -m market_data_pipeline demo

dev: $(READY) ## the browse page on port 8000 and the Dagster UI on 3000, until Ctrl-C; ARGS="--port 8001" for others
	@$(PY) -m market_data_pipeline up $(ARGS)

test: $(READY) ## all tests but those of `make soak`; ARGS="-k days" for some of them
	@$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

test-fast: $(READY) ## all tests but the slow ones
	@$(PY) -m pytest -n 2 --dist loadgroup -m "not slow and not soak" $(ARGS)

fuzz: $(READY) ## a million damaged bodies for all that reads bytes of others, 20,000 requests for the API
	@MARKET_DATA_FUZZ_BODIES=1000000 MARKET_DATA_FUZZ_REQUESTS=20000 $(PY) -m pytest -n 2 -rP market_data_pipeline_tests/fuzz market_data_pipeline_tests/api/test_contract.py $(ARGS)

# Most of its time is waiting: a reader looks several times at a chunk that is damaged.
model: $(READY) ## 20,000 random sequences of commands against a model of the store; other ones with ARGS, see the test
	@MARKET_DATA_MODEL_SEQUENCES=20000 $(PY) -m pytest -n 4 market_data_pipeline_tests/model $(ARGS)

soak: $(READY) ## tests that take minutes, which `make test` leaves out
	@$(PY) -m pytest -m soak $(ARGS)

power-loss: $(READY) ## every state that a power cut can leave, many thousand of them; ARGS="--seed 1" for others
	@$(PY) -m market_data_pipeline_tests.powerloss $(ARGS)

mutate: $(READY) ## do the tests notice changes of the rooms of core? minutes for each room; ARGS="--each 50 store" for fewer
	@[ -e $(MUTATE_VENV)/.ready ] || { echo "Setting up $(MUTATE_VENV) ..." && $(PYTHON) -m venv --clear $(MUTATE_VENV) \
	  && $(MUTATE_VENV)/$(notdir $(BIN))/python -m pip install -qq $(MUTMUT) && touch $(MUTATE_VENV)/.ready; }
	@$(PY) -m market_data_pipeline_tests.mutation --mutmut $(MUTATE_VENV)/$(notdir $(BIN))/python $(ARGS)

peers: $(READY) ## set up freqtrade and NautilusTrader in .venv-peers, and let them read exports
	@for peer in $(PEERS); do \
	  into=$(PEERS_VENV)/$${peer%%=*}; \
	  [ -e $$into/.ready ] || { echo "Setting up $$into ..." && $(PYTHON) -m venv --clear $$into \
	    && $$into/$(notdir $(BIN))/python -m pip install -qq "$${peer#*=}" && touch $$into/.ready; } || exit 1; \
	done
	@$(PY) -m pytest market_data_pipeline_tests/reader/exporting/peers $(ARGS)

check: $(READY) ## formatting, lint, types, import contracts
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()" --no-logo

format: $(READY) ## format the code and fix what lint can fix
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: $(READY) ## the benchmarks
	@$(PY) -m benchmarks $(ARGS)

canary: $(READY) ## ask the live exchange whether weights, columns, error codes and listings are as recorded; ARGS=--record
	@$(PY) -m market_data_pipeline_tests.canary $(ARGS)

site: $(READY) ## the pages of docs/ as a site in build/site, which needs no other server
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --config-file packaging/site/mkdocs.yml
	@echo "build/site/index.html is ready."

dist: $(READY) ## build the wheels, the sdist and the locked versions for pip into dist/
	@$(PY) -m hatchling build --directory dist
	@cd packaging/reader && $(abspath $(PY)) -m hatchling build --target wheel --directory ../../dist
	@$(PY) packaging/constraints.py requirements.lock dist/constraints.txt

$(AUDIT_VENV)/.ready: $(AUDIT)
	@$(CHECK_PYTHON)
	@$(PYTHON) -m venv --clear $(AUDIT_VENV)
	@$(AUDIT_VENV)/$(notdir $(BIN))/python -m pip install -qq --require-hashes -r $(AUDIT)
	@touch $@

# The list first: it needs no network.
audit: $(AUDIT_VENV)/.ready ## what the project consists of, as dist/sbom.cdx.json; then known weaknesses of it, which needs a network
	@mkdir -p dist
	@$(AUDIT_VENV)/$(notdir $(BIN))/python -W ignore::UserWarning -m cyclonedx_py requirements requirements.lock --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file dist/sbom.cdx.json
	@echo "dist/sbom.cdx.json is written."
	@$(AUDIT_VENV)/$(notdir $(BIN))/python packaging/audit/weaknesses.py requirements.lock

# One lock for Python 3.11 to 3.13 on Linux, macOS and Windows. --fork-strategy fewest: one version of each package for all of them
# (numpy, whose types differ). --no-strip-extras: older pips want `gql[requests]` pinned under that name.
lock: ## renew requirements.lock from pyproject.toml; ARGS=--upgrade for newer versions
	@$(CHECK_PYTHON)
	@$(PYTHON) -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/$(notdir $(BIN))/python -m pip install -qq $(UV)
	@$(LOCK_VENV)/$(notdir $(BIN))/python -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-strip-extras --no-header --no-annotate --quiet $(ARGS) -o requirements.lock
	@$(LOCK_VENV)/$(notdir $(BIN))/python -m uv pip compile packaging/audit/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-header --no-annotate --quiet $(ARGS) -o $(AUDIT)
	@echo "requirements.lock and $(AUDIT) are renewed."

clean: ## remove what this Makefile and the tools it calls made
	@rm -rf $(VENV) $(LOCK_VENV) $(PEERS_VENV) $(AUDIT_VENV) $(MUTATE_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
