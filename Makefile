# `make demo` and `make test` do all of their set-up on a machine that has only Python >= 3.11 and make.
# pip's and uv's own settings (environment variables, configuration files) are honoured.

PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
UV := $(VENV)/bin/uv
# One thread per worker: as many workers as cores, and torch would start as many threads in each again.
# Bytecode is kept whatever the environment says: else each of the suite's processes compiles torch anew.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# In the order of the files: files of few but long tests would else come last, and one core would wait for the other.
PYTEST_ARGS ?= -n auto --maxprocesses 8 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-lowest setup

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'Settings: PYTHON=python3.12 (to make .venv with), DEMO_ARGS="--train", PYTEST_ARGS="-k plan".'

demo: $(VENV)/.stamp-demo  ## Draw portraits, expand them, train a classifier with and without the new images.
	$(VENV)/bin/augmentor demo $(DEMO_ARGS)

test: $(VENV)/.stamp-dev  ## Run ruff, mypy --strict and the tests.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@# Status 2 is not that of errors in the code: on a busy machine mypy's workers may start too late.
	MYPY_NUM_WORKERS=auto $(VENV)/bin/mypy || { test $$? -eq 2 && $(VENV)/bin/mypy; }
	$(PYTEST) $(VENV)/bin/pytest $(PYTEST_ARGS)

test-lowest: $(LOWEST)/.stamp-dev  ## Run the tests with the oldest dependencies that pyproject.toml allows.
	$(PYTEST) $(LOWEST)/bin/pytest $(PYTEST_ARGS)

setup: $(VENV)/.stamp-dev  ## Only make .venv, with everything that developing needs.
	@echo '$(VENV) is ready.'

# A stamp is written last, so an interrupted set-up is taken up again by the next call.
$(VENV)/.stamp-uv:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("augmentor needs Python 3.11 or newer and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo 'Setting up $(VENV), once; torch is a large download.'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.stamp-demo: pyproject.toml $(VENV)/.stamp-uv
	@$(UV) pip install --python $(VENV)/bin/python -e .
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml $(VENV)/.stamp-uv
	@$(UV) pip install --python $(VENV)/bin/python -e '.[dev]'
	@touch $@ $(VENV)/.stamp-demo

$(LOWEST)/.stamp-dev: pyproject.toml $(VENV)/.stamp-uv
	@test -x $(LOWEST)/bin/python || $(UV) venv --quiet --python $(VENV)/bin/python $(LOWEST)
	@$(UV) pip install --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[dev]'
	@touch $@
