# Two commands do all on a fresh machine: `make sweep` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SWEEP ?= search_spaces/library/digits-momentum-and-decay.yaml
KILLS_TRIALS ?= 256

.PHONY: help sweep test check format dashboard kills gpu-check clean

help: ## show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "building $(VENV) (once; a few minutes, most of it PyTorch and Ray)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ravine needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

sweep: $(VENV)/.installed ## train the main job: 256 settings of SGD on handwritten digits
	@echo "training $(SWEEP); results land in .ravine/"
	@$(BIN)/ravine launch $(SWEEP)

test: $(VENV)/.installed ## run all tests
	@echo "running all tests"
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup

check: $(VENV)/.installed ## the fast loop: format, lint, types, import contracts, unit tests
	@echo "format, lint, types, import contracts, unit tests"
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q -n 2 tests/unit -m "not slow"

format: $(VENV)/.installed ## format and fix what can be fixed
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

dashboard: $(VENV)/.installed ## serve MLflow over .ravine/ on 127.0.0.1:5000
	@$(BIN)/ravine dashboard

kills: $(VENV)/.installed ## kill -9 the main job at random moments, resume, compare with the undisturbed one
	@$(BIN)/python -m tests.end_to_end.kills --trials $(KILLS_TRIALS)

gpu-check: $(VENV)/.installed ## on a machine with a GPU: parity, bits and speed there
	@echo "parity and bits on the GPU"
	@$(BIN)/python -m pytest -q -m gpu tests
	@$(BIN)/python -m benchmarks.stacked_against_solo --device cuda
	@$(BIN)/python -m benchmarks.stacked_against_solo --device cuda --precision bf16

clean: ## remove the virtual environment and caches, keep results
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
