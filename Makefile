# Works with GNU Make 3.81 (macOS) and later. Everything runs in .venv, which the first target creates.

# The first Python 3.11 or newer on the PATH; `make PYTHON=/path/to/python3.13 …` overrides it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; \
	done; echo python3)
UV = 0.13.9
# Parallel test modules: they wait for processes more than they compute.
JOBS ?= 8
# Without Python's caches each of them would compile all tests again.
unexport PYTHONDONTWRITEBYTECODE

BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-all fuzz chaos check format screenshots bench docs lock clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: .venv/project ## Run everything with the built-in model; ARGS="--port 9000"
	@$(BIN)/readalong demo $(ARGS)

# xdist would start modules with few tests last, which take longest: tests/conftest.py has the order.
TESTS = $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder

test: .venv/project ## Run the tests, three minutes; ARGS="-k cancel -x"
	@$(TESTS) -m "not slow" $(ARGS)

# The slow tests compute more than they wait.
test-all: JOBS = 6
# One run for both tiers: each of its processes imports all tests once.
test-all: .venv/project ## Run these, then the slow tests: ten minutes
	@for name in clients docs generators; do \
		{ $(MAKE) --no-print-directory .venv-$$name/done || echo "no .venv-$$name: what needs it is not tested" >&2; } & \
	done; wait
	@$(TESTS) $(ARGS)

# No time limit a test: TIMES= makes them long.
fuzz: .venv/project ## Run only the fuzzers; SEED=7 TIMES=20: other examples, and more
	@$(TESTS) tests/fuzz --timeout 0 $(ARGS)

chaos: .venv/project ## Break everything at random, ten minutes; MINUTES=1 SEED=7
	@$(BIN)/python -m tests.chaos

check: .venv/project ## Lint, format, types, import directions, house rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_structure.py tests/test_private_names.py

format: .venv/project ## Format, and fix what ruff can fix
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

screenshots: .venv/project .venv/bench ## Draw the pictures of the docs anew; needs Chromium
	@$(BIN)/python -m tests.page.screenshots

bench: .venv/project .venv/bench ## Measure, six minutes; QUICK=1: one
	@$(BIN)/python -m bench

docs: .venv/project .venv-docs/done ## Make the documentation's site, in site/
	@$(BIN)/python -m tests.docs.site

lock: .venv-lock/done ## Renew the locks from pyproject.toml
	@$(LOCK) pyproject.toml --extra server --group dev -o requirements.lock --upgrade
	@$(LOCK) pyproject.toml --extra server --group build -o requirements-runtime.lock -c requirements.lock --upgrade
	@$(LOCK) --group bench -o requirements-bench.lock -c requirements.lock --upgrade
	@$(LOCK) --group clients -o requirements-clients.lock -c requirements.lock --upgrade
	@$(LOCK) --group generators -o requirements-generators.lock --upgrade
	@$(LOCK) --group docs -o requirements-docs.lock -c requirements.lock --upgrade

clean: ## Remove the environments and all caches
	rm -rf .venv .venv-lock .venv-clients .venv-docs .venv-generators site tests/clients/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# Stamps: the lock is installed again only when it changes, the project only when pyproject.toml changes.
.venv/project: .venv/lock pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/lock: requirements.lock
	@$(NEEDS_PYTHON)
	@echo "Making .venv and installing requirements.lock ..." >&2
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

.venv/bench: requirements-bench.lock .venv/lock
	@$(PIP) install --quiet --require-hashes -r requirements-bench.lock
	@touch $@

# An environment of its own, from the lock of its group: clients of other makers, a client's generator, the site.
# By the pip of .venv, and without compiling what no test imports: half the time.
.venv-%/done: requirements-%.lock .venv/lock
	@echo "Making .venv-$* and installing $< ..." >&2
	@$(PYTHON) -m venv --clear --without-pip .venv-$*
	@$(PIP) --python .venv-$*/bin/python install --quiet --no-compile --require-hashes -r $<
	@touch $@

.venv-lock/done: Makefile
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@touch $@

# A lock has no address of a registry, and is valid on Linux and macOS for every supported Python.
LOCK = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--system-certs --no-emit-index-url --annotation-style line --custom-compile-command 'make lock'

define NEEDS_PYTHON
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "readalong needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not there). Name another: make PYTHON=/path/to/python3.13" >&2; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 1; }
endef
